"""How the admin shows things: states, ages, links, and values, which are unpacked only as far as a page has room."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

import zstandard
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from execution import values, words
from execution.models import Blob

SHOWN_MOST = 4096
UNPACKED_MOST = 1024 * 1024
EMPTY = "-"


def state(name: str) -> SafeString:
    """Show a state as a coloured word."""
    return format_html('<span class="room-state room-{}">{}</span>', name, name) if name else SafeString(EMPTY)


def age(moment: datetime | None, *, until: datetime | None = None) -> str | SafeString:
    """Show how long ago a moment was, or how far it is, kept fresh by the page; the moment stands in the hint."""
    if moment is None:
        return EMPTY
    distance = (until or timezone.now()) - moment
    text = words.length(distance) if distance.total_seconds() >= 0 else f"in {words.length(-distance)}"
    stamp = moment.isoformat(timespec="seconds")
    is_fresh = "" if until else SafeString(" data-age")
    return format_html('<time datetime="{}" title="{}"{}>{}</time>', stamp, words.moment(moment), is_fresh, text)


def lasted(start: datetime | None, end: datetime | None) -> str:
    """Show a length of time; without an end, so far."""
    if start is None:
        return EMPTY
    return words.length((end or timezone.now()) - start) + ("" if end else " so far")


def yes(is_so: bool) -> str:  # noqa: FBT001 - the value that is shown
    """Show a yes or no as a word: the admin's red cross would say that a no is wrong."""
    return "yes" if is_so else "no"


def spent(cost: Decimal, tokens: int, budget_cost: Decimal | None, budget_tokens: int | None) -> str:
    """Show what was spent, and of how much."""
    parts = []
    if cost or budget_cost is not None:
        parts.append(words.money(cost) + (f" of {words.money(budget_cost)}" if budget_cost is not None else ""))
    if tokens or budget_tokens is not None:
        parts.append(f"{tokens:,} tokens" + (f" of {budget_tokens:,}" if budget_tokens is not None else ""))
    return ", ".join(parts) or EMPTY


def link(page: str, key: Any, text: str = "") -> str | SafeString:
    """Show a link to one page of the ledger: `run`, `step`, `agent`, ..."""
    if key is None:
        return EMPTY
    return format_html('<a href="{}">{}</a>', reverse(f"admin:execution_{page}_change", args=[key]), text or short(key))


def short(key: Any) -> str:
    """Show the end of an id: the beginning of all ids of one minute is the same."""
    text = str(key)
    return f"…{text[-12:]}" if isinstance(key, uuid.UUID) else text


def error(found: dict[str, Any] | None) -> str:
    """Show an error on one line."""
    if not found:
        return EMPTY
    return words.one_line(f"{found.get('type') or found.get('kind', '')}: {found.get('message', '')}", 200)


def failure(found: dict[str, Any] | None) -> SafeString:
    """Show an error as a programmer reads it: what, of which kind, and where."""
    if not found:
        return SafeString(EMPTY)
    head = f"{found.get('type', '')}: {found.get('message', '')}\n({found.get('kind', 'unknown')})"
    return pre(f"{head}\n\n{found['traceback']}" if found.get("traceback") else head)


def facts(found: dict[str, Any], *, but: frozenset[str] = frozenset(), most: int = 200) -> str:
    """Show an event's data on one line."""
    said = (
        f"{name} {error(value) if name == 'error' else value}"
        for name, value in found.items()
        if name not in but and value not in (None, "")
    )
    return words.one_line(", ".join(said), most)


def data(found: Any, *, whole: str = "") -> SafeString:
    """Show JSON, shortened; `whole` is where the rest is."""
    text = json.dumps(found, indent=2, ensure_ascii=False, default=str)
    return pre(text, whole=whole) if found is not None else SafeString(EMPTY)


def value(packed: bytes | memoryview | None, *, whole: str = "") -> SafeString:
    """Show a stored value, shortened; one that is too large to unpack for a glance is named by its size."""
    if packed is None:
        return SafeString(EMPTY)
    raw = bytes(packed)
    size = _size(raw)
    if size is None:
        return SafeString("<em>its blob is missing</em>")
    if size > UNPACKED_MOST:
        return format_html("<em>{}: too large to be shown here</em>", words.size(size))
    return data(_bare(values.unpack(raw, _blob)), whole=whole)


def _bare(found: Any) -> Any:
    """Return an input as people give it: by its names, where it has no other arguments."""
    is_input = isinstance(found, dict) and found.keys() == {"args", "kwargs"} and not found["args"]
    return found["kwargs"] if is_input else found


def whole_value(packed: bytes | memoryview | None) -> SafeString:
    """Show a stored value in full, as long as it can be unpacked for a page."""
    raw = bytes(packed or b"")
    if not raw or (_size(raw) or UNPACKED_MOST + 1) > UNPACKED_MOST:
        return value(packed)
    text = json.dumps(_bare(values.unpack(raw, _blob)), indent=2, ensure_ascii=False, default=str)
    return format_html('<pre class="room-value is-whole" tabindex="0">{}</pre>', text)


def pre(text: str, *, whole: str = "") -> SafeString:
    """Show a text as it is, shortened; the rest comes on demand where it is said from where."""
    rest = len(text) - SHOWN_MOST
    more = format_html("<em>… and {} characters more</em>", f"{rest:,}") if rest > 0 else ""
    if more and whole:
        more = format_html(
            '<p class="room-more">{} <button type="button" class="room-button" hx-get="{}" '
            'hx-target="closest .room-cut">Show it whole</button></p>',
            more,
            whole,
        )
    return format_html(
        '<div class="room-cut"><pre class="room-value" tabindex="0">{}</pre>{}</div>', text[:SHOWN_MOST], more
    )


def _size(packed: bytes) -> int | None:
    """Return how large a value is once it is unpacked, without doing so; None where its blob is missing."""
    if packed[:1] == b"b":
        return Blob.objects.filter(pk=packed[1:]).values_list("size", flat=True).first()
    if packed[:1] == b"z":
        return int(zstandard.get_frame_parameters(packed[1:]).content_size)
    return len(packed)


def _blob(digest: bytes) -> bytes:
    return bytes(Blob.objects.values_list("data", flat=True).get(pk=digest))
