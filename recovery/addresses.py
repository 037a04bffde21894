"""Which addresses a webhook may reach: what is public, and what an operator may give.

What a name leads to is judged when it is connected to, by `network.py`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from execution.exceptions import OptionInvalid
from recovery import conf

if TYPE_CHECKING:
    import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LONGEST = 2000
_HIDING_IPV4 = (  # an IPv4 address stands in the last bytes of these
    ipaddress.IPv6Network("64:ff9b::/96"),
    ipaddress.IPv6Network("::/96"),
)
_LOCAL_TRANSLATION = ipaddress.IPv6Network("64:ff9b:1::/48")
"""Each network translates these as it likes (RFC 8215): nobody can tell where one leads."""


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the open internet, as does the one that it may carry in itself."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _carried(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or address in _LOCAL_TRANSLATION:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to."""
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if any(address in network for network in _HIDING_IPV4):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


# As an operator gives them


def checked_url(url: str) -> str:
    """Return an address that can be sent to, or say what is wrong with it."""
    import httpx

    try:
        problem = _problem(url, httpx.URL(url))
    except (httpx.InvalidURL, TypeError, UnicodeError) as error:
        raise OptionInvalid(f"the webhook's address {url!r:.200} cannot be read: {error}") from None
    if problem:
        raise OptionInvalid(f"the webhook's address {shown_url(url)!r:.200} {problem}")
    return url


def _problem(url: str, parsed: httpx.URL) -> str:
    if parsed.scheme not in ("https", "http") or not parsed.host:
        return "is no web address: write it as https://example.com/hooks"
    if parsed.port is not None and not 0 < parsed.port < 65536:
        return f"names the port {parsed.port}: there are 1 to 65535"
    if parsed.userinfo:
        return "holds a user or a password: leave them out; the receiver verifies the signature"
    if parsed.fragment or len(url) > _LONGEST or any(character.isspace() for character in url):
        return f"holds a fragment or a space, or is longer than {_LONGEST} characters: leave that out"
    return _private(parsed.host)


def _private(host: str) -> str:
    """Say that a host is a private address in plain sight; names are judged when they are connected to."""
    try:
        is_refused = not is_public(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        is_refused = host == "localhost" or host.endswith(".localhost")
    if is_refused and not conf.current().webhook_private_addresses:
        return "is no public address; CELERIAC['webhook_private_addresses'] = True allows such"
    return ""


def shown_url(url: str) -> str:
    """Return an address without what may be a secret in it."""
    bare, question, _ = url.partition("?")
    return re.sub(r"//[^/@]*@", "//", bare) + ("?..." if question else "")
