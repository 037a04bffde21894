"""Values: JSON and nothing else, stored once where they are large, refused with their place where they cannot be."""

import dataclasses
import datetime as dt
import enum
import json
import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import BaseModel

from execution import ledger, runs, values
from execution.exceptions import NotJson, ValueTooLarge
from execution.models import Blob, Checkpoint

JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text(),
    lambda parts: some.lists(parts) | some.dictionaries(some.text(), parts),
    max_leaves=20,
)


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    at: dt.date


class Model(BaseModel):
    name: str
    price: Decimal


@given(JSON)
def test_value_comes_back_as_it_was(value):
    """Whatever JSON can say comes back the same, and its digest does not depend on the order of its keys."""
    packed = values.pack(value, place="a value")
    assert packed.value() == json.loads(json.dumps(value))
    if isinstance(value, dict):
        turned = dict(reversed(value.items()))
        assert values.digest(turned, place="a value") == values.digest(value, place="a value")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2,)), [1, [2]]),
        ({1: "a", None: "b"}, {"1": "a", "null": "b"}),
        (dt.date(2026, 1, 2), dt.date(2026, 1, 2)),
        (dt.time(3, 4), dt.time(3, 4)),
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
        (Decimal("0.10"), Decimal("0.10")),
        (uuid.UUID(int=5), uuid.UUID(int=5)),
        (b"\x00\xff", b"\x00\xff"),
        (Point(1, dt.date(2026, 1, 2)), {"x": 1, "at": dt.date(2026, 1, 2)}),
        (Model(name="a", price=Decimal("1.5")), {"name": "a", "price": "1.5"}),
        ([Colour.RED], ["red"]),
        ({"__type__": "datetime", "__value__": "no date"}, {"__type__": "datetime", "__value__": "no date"}),
        ({"__type__": [1], "__value__": 1}, {"__type__": [1], "__value__": 1}),
        ("half \ud800 a character", "half \ud800 a character"),
        ("nul \0", "nul \0"),
    ],
)
def test_value_of_python_comes_back_as_documented(value, expected):
    """Tuples come back as lists, keys as text, models as dictionaries; dates, decimals and ids as they were."""
    assert values.pack(value, place="a value").value() == expected


def contains_itself():
    """Return a list that contains itself several times."""
    value = []
    value += [value, value, value]
    return {"a": value}


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        ({"a": [1, {"b": object()}]}, "['a'][1]['b']", "object"),
        ({"a": float("nan")}, "['a']", "not JSON compliant"),
        ([float("inf")], "[0]", "not JSON compliant"),
        ({"a": {1, 2}}, "['a']", "set"),
        ({"a": {("x", "y"): 1}}, "['a']", "the key ('x', 'y') is tuple, and a key is text"),
        (contains_itself(), "['a'][0]", "it contains itself"),
        ({"f": print}, "['f']", "function"),
    ],
)
def test_value_that_is_not_json_is_refused_with_its_path(value, place, reason):
    """The error says which part of the value it is, and what is wrong with it."""
    with pytest.raises(NotJson) as caught:
        values.pack(value, place="the result of 'x'")
    assert caught.value.place == f"the result of 'x'{place}"
    assert reason in caught.value.reason


def test_value_too_large_says_its_size_and_place(settings):
    """The limit is a setting; the error holds the place, the size, the limit and what to do."""
    settings.CELERIAC = settings.CELERIAC | {"max_value_bytes": 2000}
    with pytest.raises(
        ValueTooLarge, match=r"the result of 'x' has 3,002 bytes, more than the 2,000 .* keep its address"
    ):
        values.pack("x" * 3000, place="the result of 'x'")


def test_value_limit_is_16_megabytes():
    """Without a setting a value of 16 MB is the largest."""
    with pytest.raises(ValueTooLarge):
        values.pack("x" * (16 * 1024 * 1024), place="a value")
    assert values.pack("x" * (16 * 1024 * 1024 - 2), place="a value").size == 16 * 1024 * 1024


def test_value_packing_follows_its_size():
    """Small values lie as they are, larger ones compressed, large ones by the hash of their content."""
    assert values.pack("x" * 100, place="").data[:1] == b"j"
    assert values.pack("x" * 5000, place="").data[:1] == b"z"
    large = values.pack([uuid.uuid4().hex for _ in range(6000)], place="")
    assert large.data[:1] == b"b"
    assert len(large.data) == 33
    assert large.value() == values.unpack(large.data, lambda _: large.blob[1])


def test_digest_knows_keys_of_several_types():
    """Keys that have no order among each other still have one digest."""
    assert values.digest({1: 1, "a": 2}, place="") == values.digest({"a": 2, "1": 1}, place="")


@pytest.mark.django_db(transaction=True)
def test_large_value_is_stored_once_and_loaded_when_it_is_looked_at(stage):
    """The same large value recorded three times takes one blob; a replay that does not meet it does not load it."""
    large = [uuid.uuid4().hex for _ in range(6000)]
    loaded = []

    def work(ctx):
        for name in ("a", "b", "c"):
            ctx.once(name, lambda: large)
        ctx.append("list", large, token="one")
        ctx.sleep("nap", seconds=0.01)
        items = ctx.items("list")
        loaded.append(len(items))
        return items[0]

    run = stage.open(work)
    assert stage.finish(run) == large
    assert Blob.objects.count() == 1
    assert all(len(bytes(one.data)) < 40 for one in Checkpoint.objects.filter(step_id=run.id, kind="once"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "blob", lambda _: pytest.fail("it was loaded"))
        assert runs.get(run).state == "completed"
