"""Masks: what varies from one message to the next is taken out of it, by rules that know nothing of its source.

The order is part of the fingerprint's version: e-mail, url, host, ip, uuid, hashes, dates, durations, hex, numbers,
quoted values, booleans, object addresses; then what these leave of paths and of `name=value`. Each becomes the same
`<*>`, so that a host that is once an address and once a name stays one place.
"""

from __future__ import annotations

import re

MASK = "<*>"
LONGEST = 2000
"""Characters of a message that are looked at."""

_HEAD = r"(?<![\w.\-])"
_TAIL = r"(?![\w\-]|\.\w)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6}"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d+)?(?:\s?[AaPp][Mm]\b)?"
_ZONE = r"(?:\s?(?:Z|UTC|GMT|[A-Z]{2,4}T|[+-]\d{2}:?\d{2})\b)?"
_UNIT = (
    r"(?:ns|nsecs?|nanoseconds?|us|\u00b5s|usecs?|microseconds?|ms|msecs?|millis|milliseconds?|s|secs?|seconds?|m|mins?|"
    r"minutes?|h|hrs?|hours?|d|days?|w|weeks?|months?|y|years?)"
)
_SIZE = r"(?:[KMGTP]i?B?|[kb]B|B|bytes?|bits?|%|Hz|kHz|MHz|GHz|tokens?)"
_NUMBER = r"(?:\d+(?:,\d{3})+|\d+)(?:\.\d+)*(?:[eE][+-]?\d+)?"
_TOP = (
    r"(?:com|net|org|edu|gov|mil|int|info|biz|dev|app|cloud|local|localdomain|internal|intranet|lan|corp|home|svc|test|example|"
    r"invalid|arpa)"
)

# Each mask with what a message must hold for it to be worth a look: the cheap question keeps the others fast.
_DIGIT = re.compile(r"\d")
_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)*")
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s\"'<>,;)\]}]+")
_HOST = re.compile(
    rf"{_HEAD}(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+(?:{_TOP}|(?:[A-Za-z]{{2}}(?=:\d)))\.?(?::\d+)?"
    r"|(?:localhost|(?=[a-z0-9]*[-.\d])[a-z][a-z0-9]*(?:[-.][a-z0-9]+)*):\d{2,5})(?![\w-]|\.\w)"
)
_IP = re.compile(rf"(?<![\w.])/?(?:{_OCTET}\.){{3}}{_OCTET}(?:/\d{{1,2}})?(?::\d+)?(?![\w]|\.\d)")
_IP_BY_COLONS = re.compile(
    r"(?<![\w:-])(?:[0-9A-Fa-f]{2}[:-]){5,}[0-9A-Fa-f]{2}(?![\w:-])"
    r"|(?<![\w:])\[?(?:(?:[0-9A-Fa-f]{1,4}:){3,7}[0-9A-Fa-f]{1,4}"
    r"|(?:[0-9A-Fa-f]{1,4}:)*::?[0-9A-Fa-f]+(?::[0-9A-Fa-f]+)*)\]?(?::\d+)?(?![\w:])"
)
_UUID = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")
_HASH = re.compile(
    r"(?<![0-9A-Za-z])(?:[A-Za-z0-9]+:)?(?=[0-9A-Fa-f]*\d)(?=[0-9A-Fa-f]*[A-Fa-f])[0-9A-Fa-f]{12,}(?![0-9A-Za-z])"
)
_DATE = re.compile(
    rf"(?:{_DAY},?\s+)?(?<![\w.])(?:\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{4}}|"
    rf"\d{{1,2}}[ /-]{_MONTH}[ /,-]*\d{{4}}|{_MONTH} +\d{{1,2}}(?:,? +\d{{4}}(?![:\d]))?)"
    rf"(?:[T :,]+(?:at )?{_CLOCK}{_ZONE}(?:\s+\d{{4}}\b)?)?(?![\w])"
    rf"|(?<![\w.:]){_CLOCK}{_ZONE}(?![\w:])"
)
_DURATION = re.compile(rf"(?<![\w.])[<>~]?\s?[+-]?{_NUMBER}\s?{_UNIT}(?:\s?{_NUMBER}\s?{_UNIT})*(?![\w])")
_HEX = re.compile(r"\b0[xX][0-9A-Fa-f]+\b|(?<![\w])(?=[0-9A-Fa-f]*\d)(?=[0-9]*[A-Fa-f])[0-9A-Fa-f]{4,}(?![\w])")
_NUMERAL = re.compile(rf"(?<!\w)(?<!\w-)[<>~#+-]{{0,2}}{_NUMBER}(?:\s?{_SIZE}(?![\w]))?%?(?![\w])")
_QUOTED = re.compile(
    r"(?<![\w])(b?'(?:[^'\\\n]|\\.)*'|b?\"(?:[^\"\\\n]|\\.)*\"|`[^`\n]*`|\u201c[^\u201d\n]*\u201d|"
    r"\u2018[^\u2019\n]*\u2019|\u00ab[^\u00bb\n]*\u00bb)(?![\w])"
)
_QUOTES = re.compile("['\"`\u201c\u2018\u00ab]")
_BOOLEAN = re.compile(r"(?<![\w-])(?:true|false|True|False|TRUE|FALSE|none|None|null|NULL|nil|undefined|NaN)(?![\w-])")
_ADDRESS = re.compile(r"<(?!\*>)(?:[^<>]|<\*>)*\bat <\*>(?:[^<>]|<\*>)*>|\w+@<\*>")
_PATH = re.compile(
    r"(?<![\w<>*])(?:[A-Za-z]:|~|\.{1,2})?(?:[\\/](?:[\w.@$%+~-]|<\*>)+){2,}[\\/]?|(?<![\w<>*])[A-Za-z]:\\\S*"
    r"|(?<![\w<>*/])/(?:[\w.@$%+~-]|<\*>)+|(?<![\w<>*/])[\w.-]+(?:/[\w.@-]+){2,}/?"
    r"|(?<![\w<>*/])[\w-]+\.[\w.-]+/[\w.$@-]+|(?<![\w<>*/])[\w-]+/[\w-]+\.[\w.$@-]+"
)
_LEADER = re.compile(r"\.{3,}")
_METHOD = re.compile(r"[\"'](GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE) ")
_PAIR = re.compile(r"(?<=\w)=(?!=)(?:<\*>|[^\s,;&()\[\]{}=|])*")


def mask(message: str) -> str:
    """Return a message with its variable parts masked."""
    text = message[:LONGEST]
    if "..." in text:
        text = _LEADER.sub(" ", text)
    if "@" in text:
        text = _EMAIL.sub(MASK, text)
    if "://" in text:
        text = _URL.sub(MASK, text)
    if _DIGIT.search(text) or "." in text:
        text = _masked_names(text)
    if _QUOTES.search(text):
        text = _QUOTED.sub(_quoted, text)
    text = _BOOLEAN.sub(MASK, text)
    if "at <*>" in text or "@<*>" in text:
        text = _ADDRESS.sub(MASK, text)
    if "/" in text or "\\" in text:
        text = _masked_paths(text)
    return _PAIR.sub("=" + MASK, text) if "=" in text else text


def _masked_names(text: str) -> str:
    """Mask what has digits or dots: hosts, addresses, ids, times and numbers."""
    text = _HOST.sub(MASK, text)
    if not _DIGIT.search(text):
        return text
    if text.count(".") >= 3:
        text = _IP.sub(MASK, text)
    if text.count(":") >= 2 or text.count("-") >= 4:
        text = _IP_BY_COLONS.sub(MASK, text)
        text = _UUID.sub(MASK, text)
    for pattern in (_HASH, _DATE, _DURATION, _HEX, _NUMERAL):
        text = pattern.sub(MASK, text)
    return text


def _masked_paths(text: str) -> str:
    return " ".join(_PATH.sub(MASK, word) if "/" in word or "\\" in word else word for word in text.split(" "))


def _quoted(found: re.Match[str]) -> str:
    """Mask a quoted value; of a quoted request line the method stays."""
    method = _METHOD.match(found[0])
    return f"{method[1]} {MASK}" if method else MASK


_SECRET = re.compile(
    r"(?i)\b(password|passwd|passphrase|secret|token|bearer|basic|authorization|api[ _-]?key|private[ _-]?key|"
    r"credentials?|cookie)(\s*(?:is|was|:|=|provided:?)?\s+|[:=]\s*)(?!is\b|was\b|not\b|for\b|has\b|expired\b|<\*>)(?:(?:bearer|basic|digest|token)\s+)?[^\s,;)\]}]+"
)
_OPAQUE = re.compile(r"(?<![\w-])(?=[\w+/=.-]*\d)(?=[\w+/=.-]*[A-Za-z])[\w+/=.-]{12,}|(?<![\w-])[\w+/=-]{28,}")


def without_secrets(message: str) -> str:
    """Return a message that may be shown to anybody: masked, and without what looks like a key or a token."""
    return _OPAQUE.sub(MASK, _SECRET.sub(rf"\1\2{MASK}", mask(message)))
