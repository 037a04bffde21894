"""From an error to its kind, and from the kind to a delay."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from execution import exceptions, retries
from execution.retries import PERMANENT, RESOURCE, TRANSIENT, UNKNOWN, Policy, delay_of, kind_of

POLICY = Policy(retries=3, base_seconds=1, cap_seconds=300, kinds={})


class Http(Exception):
    """An error as HTTP clients raise it."""

    def __init__(self, status, headers=None):
        super().__init__(status)
        self.response = SimpleNamespace(status_code=status, headers=headers or {})


class RateLimitError(Exception):
    """An error as model providers name it."""


class OddError(Exception):
    """An error that nobody knows."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError(), TRANSIENT),
        (TimeoutError(), TRANSIENT),
        (RateLimitError(), TRANSIENT),
        (Http(429), TRANSIENT),
        (Http(503), TRANSIENT),
        (Http(599), TRANSIENT),
        (Http(401), PERMANENT),
        (Http(404), PERMANENT),
        (Http(422), PERMANENT),
        (ValueError(), PERMANENT),
        (KeyError(), PERMANENT),
        (MemoryError(), RESOURCE),
        (OddError(), UNKNOWN),
        (exceptions.TokenReused(), PERMANENT),
        (exceptions.WaitTimeout("x"), PERMANENT),
        (exceptions.NotJson("x", "y"), PERMANENT),
        (exceptions.LedgerAway(), TRANSIENT),
    ],
)
def test_kind_of_an_error(error, kind):
    """Classes, their parents and HTTP status decide; what nobody knows is unknown."""
    assert kind_of(error) == kind


def test_kind_may_be_overridden_by_skill_registry_and_rule(monkeypatch):
    """A skill's own word goes first, then a registered rule, then a registered class."""
    monkeypatch.setattr(retries, "_KNOWN", dict(retries._KNOWN))
    monkeypatch.setattr(retries, "_rules", [])
    retries.register(OddError, PERMANENT)
    assert kind_of(OddError()) == PERMANENT
    retries.register_rule(lambda error: RESOURCE if "memory" in str(error) else None)
    assert kind_of(OddError("out of memory")) == RESOURCE
    assert kind_of(OddError("out of memory"), {"OddError": TRANSIENT}) == TRANSIENT
    assert kind_of(OddError("out of memory"), {"Exception": TRANSIENT}) == TRANSIENT
    with pytest.raises(ValueError, match="one of transient"):
        retries.register(OddError, "sometimes")


def test_delay_doubles_to_its_cap_with_full_jitter():
    """The n-th try waits up to base * 2 ** n seconds, never more than the cap."""
    policy = Policy(retries=20, base_seconds=1, cap_seconds=300, kinds={})
    assert [delay_of(TimeoutError(), policy, n, lambda: 1.0) for n in range(10)] == [
        1,
        2,
        4,
        8,
        16,
        32,
        64,
        128,
        256,
        300,
    ]
    assert delay_of(TimeoutError(), policy, 5, lambda: 0.25) == 8


@pytest.mark.parametrize("error", [ValueError(), MemoryError()])
def test_delay_of_what_will_not_mend_is_none(error):
    """Permanent errors and spent resources are not tried again."""
    assert delay_of(error, POLICY, 0) is None


def test_delay_ends_with_the_retries():
    """After the last retry there is no delay."""
    assert delay_of(OddError(), POLICY, 2) is not None
    assert delay_of(OddError(), POLICY, 3) is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"Retry-After": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "999999"}, 86400),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_delay_is_what_the_server_asked_for(given, expected):
    """Retry-After goes before our own arithmetic, within a day."""
    delay = delay_of(Http(429, given), POLICY, 0, lambda: 0.5)
    assert delay == (0.5 if expected is None else expected)


def test_retry_after_may_be_a_date():
    """The header's other form is a moment."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    later = (now + timedelta(seconds=90)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert retries.retry_after(Http(503, {"Retry-After": later}), now) == 90


@pytest.mark.parametrize(
    ("error", "refused"),
    [(Http(400), True), (Http(429), True), (ConnectionRefusedError(), True), (Http(408), False), (Http(409), False),
     (Http(500), False), (ConnectionResetError(), False), (ValueError(), False)],
)  # fmt: skip
def test_refusal_says_that_nothing_was_done(error, refused):
    """Only a server that said no, or was never reached, has surely done nothing."""
    assert retries.is_refusal(error) is refused
