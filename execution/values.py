"""Values as the ledger keeps them: JSON, packed, large ones once by the hash of their content.

The first byte tells the packing: `j` JSON as it is, `z` compressed, `b` the SHA-256 of a blob. What Celery's own JSON
can carry (dates, times, decimals, UUIDs, bytes) comes back as it was; tuples come back as lists, dataclasses and
pydantic models as dictionaries, enumerations as their values, and keys as text. Pickle is never accepted.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

import zstandard
from kombu.utils import json as kombu_json
from pydantic import BaseModel

from execution import conf
from execution.exceptions import NotJson, ValueTooLarge

_TYPED = b'"__type__"'
_DEEPEST = 200
_tools = threading.local()


@dataclass(frozen=True, slots=True)
class Packed:
    """A value ready to be stored."""

    data: bytes
    size: int
    blob: tuple[bytes, bytes] | None = None

    def value(self) -> Any:
        """Return the value as it will be read back."""
        return unpack(self.data, lambda _: self.blob[1] if self.blob else b"")


class _Encoder(kombu_json.JSONEncoder):
    def default(self, value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        if is_dataclass(value) and not isinstance(value, type):
            return {one.name: getattr(value, one.name) for one in fields(value)}
        if isinstance(value, Enum):
            return value.value
        return super().default(value)


_ENCODER = _Encoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def encode(value: Any, *, place: str) -> bytes:
    """Return a value as JSON, or say where it is not."""
    try:
        text: str = _ENCODER.encode(value)
        return text.encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError) as error:
        path, reason = _offender(value)
        raise NotJson(f"{place}{path}", reason or str(error)) from error


def decode(data: bytes) -> Any:
    """Return the value of JSON bytes."""
    if _TYPED in data:
        return json.loads(data, object_hook=_typed)
    return json.loads(data)


def _typed(value: dict[str, Any]) -> Any:
    """Return what Celery's JSON means by `__type__`; somebody else's dictionary that only looks so is left as it is."""
    try:
        return kombu_json.object_hook(value)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError):
        return value


def pack(value: Any, *, place: str) -> Packed:
    """Pack a value; refused above the limit, with its size and its place."""
    text = encode(value, place=place)
    size = len(text)
    settings = conf.current()
    if size > settings.max_value_bytes:
        raise ValueTooLarge(place, size, settings.max_value_bytes)
    if size < settings.compress_from_bytes:
        return Packed(b"j" + text, size)
    data = b"z" + _compressor().compress(text)
    if len(data) < settings.blob_from_bytes:
        return Packed(data, size)
    digest = hashlib.sha256(text).digest()
    return Packed(b"b" + digest, size, (digest, data))


def unpack(data: bytes | memoryview | None, fetch: Callable[[bytes], bytes]) -> Any:
    """Return the value of packed bytes; `fetch` returns a blob's data by its hash."""
    if data is None:
        return None
    packed = bytes(data)
    if packed[:1] == b"b":
        packed = bytes(fetch(packed[1:]))
    if packed[:1] == b"z":
        return decode(_decompressor().decompress(packed[1:]))
    return decode(packed[1:])


def content_hash(data: bytes | memoryview | None) -> bytes | None:
    """Return the SHA-256 of the JSON that packed bytes stand for, however they are packed."""
    if data is None:
        return None
    packed = bytes(data)
    if packed[:1] == b"b":
        return packed[1:]
    text = _decompressor().decompress(packed[1:]) if packed[:1] == b"z" else packed[1:]
    return hashlib.sha256(text).digest()


def digest(value: Any, *, place: str) -> bytes:
    """Return a short hash of a value's content, the same whatever the order of its keys."""
    try:
        text = _sorted(value)
    except (TypeError, ValueError, RecursionError):
        # Keys of several types have no order of their own: as text they have one.
        text = _sorted(json.loads(encode(value, place=place)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _sorted(value: Any) -> str:
    return json.dumps(value, cls=_Encoder, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_tools, "compressor"):
        _tools.compressor = zstandard.ZstdCompressor(level=3)
    return _tools.compressor  # type: ignore[no-any-return]


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_tools, "decompressor"):
        _tools.decompressor = zstandard.ZstdDecompressor()
    return _tools.decompressor  # type: ignore[no-any-return]


def _offender(value: Any, path: str = "", above: tuple[int, ...] = ()) -> tuple[str, str]:
    """Find the first part of a value that is not JSON: its path and why."""
    if id(value) in above or len(above) > _DEEPEST:
        return path, "it contains itself" if id(value) in above else "it is nested too deeply"
    for place, child in _children(value, path):
        if place is None:
            return path, f"the key {child!r:.80} is {type(child).__name__}, and a key is text"
        where, reason = _offender(child, place, (*above, id(value)))
        if reason:
            return where, reason
    return path, "" if isinstance(value, (dict, list, tuple)) else _problem(value)


def _problem(value: Any) -> str:
    """Return why a value without parts is not JSON; nothing where it is."""
    try:
        json.dumps(value, cls=_Encoder, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return f"{type(value).__name__}: {error}"
    return ""


def _children(value: Any, path: str) -> Iterator[tuple[str | None, Any]]:
    """Return the parts of a container with their places; a key that JSON cannot have stands without a place."""
    if isinstance(value, dict):
        for key, child in value.items():
            if not isinstance(key, (str, int, float, bool, type(None))):
                yield None, key
            yield f"{path}[{key!r}]", child
    elif isinstance(value, (list, tuple)):
        yield from ((f"{path}[{index}]", child) for index, child in enumerate(value))
