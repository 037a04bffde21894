"""Signals: what a step waits for from outside. Early ones are kept, each is taken once.

A callback address is signed, expires, and can be used once: its signal's id is made from the address, so that a
second POST finds it stored.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.core import signing
from django.db import transaction
from django.urls import NoReverseMatch, reverse

from execution import conf, ids, ledger, openings, values
from execution.durations import Duration, seconds
from execution.exceptions import CallbackExpired, CallbackInvalid, CallbackUsed, OptionInvalid, RunEnded, RunUnknown
from execution.models import Run

LONGEST_NAME = 255
DECISION = "gate:"
"""What the name of a decision begins with; only `gates.decide` may send one."""
_SALT = "celeriac.callback"


def send(
    run: Run,
    name: Any,
    data: Any = None,
    *,
    sender: str = "",
    signal_id: uuid.UUID | None = None,
    is_decision: bool = False,
) -> str:
    """Store a signal in the caller's transaction and wake the step that waits for it, rung for after the commit."""
    if type(name) is not str or not 0 < len(name) <= LONGEST_NAME or "\0" in name:
        raise OptionInvalid(f"a signal needs a name of 1 to {LONGEST_NAME} characters, not {name!r:.80}")
    if name.startswith(DECISION) and not is_decision:
        raise OptionInvalid(
            f"{name!r} is a gate's decision: `runs.approve` and `runs.refuse` make it, and know who may"
        )
    packed = values.pack(data, place=f"the data of the signal {name!r}")
    openings.keep_blobs([packed])
    state = ledger.ask_in_transaction(
        "SELECT execution_signal_v1(%s, %s, %s, %b, %s) AS v",
        [signal_id or ids.new(), run.id, name, packed.data, sender],
    )[0].v
    if state == "unknown":
        raise RunUnknown(f"there is no run {run.id}")
    if state in ("completed", "failed", "cancelled"):
        raise RunEnded(run.id, state, f"take the signal {name!r}")
    if state == "woken":
        transaction.on_commit(lambda: _ring(run.id), robust=True)
    return str(state)


def _ring(run_id: uuid.UUID) -> None:
    from execution import doorbell
    from execution.models import Step, StepState

    doorbell.ring_for(
        list(Step.objects.filter(run_id=run_id, state=StepState.READY, rung_at=None).values_list("id", flat=True)[:100])
    )


def address(run_id: uuid.UUID, name: str, *, expires: Duration, nonce: str) -> str:
    """Return a signed address to which the signal may be POSTed once."""
    token = signing.dumps([str(run_id), name, nonce, seconds(expires, name="expires")], salt=_SALT, compress=True)
    try:
        path = reverse("celeriac-callback", args=[token])
    except NoReverseMatch:
        path = f"/celeriac/callbacks/{token}"
    return conf.current().callback_base_url.rstrip("/") + path


def receive(token: str, data: Any) -> str:
    """Take what was POSTed to a callback address; raises CallbackInvalid, RunUnknown or RunEnded."""
    try:
        run_id, name, nonce, lifetime = signing.loads(token, salt=_SALT)
        signing.loads(token, salt=_SALT, max_age=lifetime)
    except signing.SignatureExpired:
        raise CallbackExpired("this callback address has expired") from None
    except (signing.BadSignature, ValueError):
        raise CallbackInvalid("this callback address is not one of ours") from None
    run = Run.objects.filter(pk=run_id).first()
    if run is None:
        raise RunUnknown(f"there is no run {run_id}")
    answer = send(run, name, data, sender="callback", signal_id=uuid.uuid5(uuid.UUID(run_id), f"{name}:{nonce}"))
    if answer == "already":
        raise CallbackUsed("this callback address has been used")
    return answer
