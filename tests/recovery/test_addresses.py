"""Addresses: only public ones, judged on the very one that is connected to, whatever a name says later."""

import asyncio
import ipaddress
import uuid

import httpcore
import pytest

from execution.exceptions import OptionInvalid
from recovery import addresses, posting, webhooks

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1",  # noqa: S104 - nothing is bound
    "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1",
    "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "64:ff9b:1:a00:1:0:808:808", "2002:7f00:1::", "2002:a9fe:a9fe::",
]  # fmt: skip
ALLOWED = ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text):
    """Private, loopback, link-local, shared, reserved and multicast addresses are not public, in whatever clothes."""
    assert not addresses.is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ALLOWED)
def test_allowed(text):
    """The open internet is."""
    assert addresses.is_public(ipaddress.ip_address(text))


def sent(receiver, resolve, host="rebound.example"):
    """Post one message to a name."""

    async def post():
        async with posting.Sender(resolve) as sender:
            return await posting.post(
                sender,
                posting.Message(
                    id=uuid.uuid4(),
                    event_id=uuid.uuid4(),
                    url=receiver.url("shop", host=host),
                    body={},
                    secrets=[webhooks.new_secret()],
                ),
            )

    return asyncio.run(post())


def test_rebinding_is_judged_on_what_is_connected_to(receiver, settings, monkeypatch):
    """A name that is public when it is asked first and loopback then is never followed there: what was judged is connected to."""
    settings.CELERIAC = settings.CELERIAC | {"webhook_private_addresses": False}
    answers, dialled = [["203.0.114.7"], ["127.0.0.1"], ["127.0.0.1"]], []

    async def resolve(host, port):
        return answers.pop(0)

    async def dial(self, host, *_):
        dialled.append(host)
        raise httpcore.ConnectError("nobody is there")

    with monkeypatch.context() as patched:
        patched.setattr(httpcore.AnyIOBackend, "connect_tcp", dial)
        assert not sent(receiver, resolve).is_success
    assert dialled == ["203.0.114.7"], "the name was asked once, and the socket was opened to what it said"
    answer = sent(receiver, resolve)
    assert "rebound.example is at 127.0.0.1, which is no public address" in answer.error
    assert "webhook_private_addresses" in answer.error
    assert receiver.seen == []


def test_the_public_one_of_two_is_dialled(receiver, settings, monkeypatch):
    """Beside a public address a private one is left out."""
    settings.CELERIAC = settings.CELERIAC | {"webhook_private_addresses": False}
    dialled = []

    async def resolve(host, port):
        return ["127.0.0.1", "::ffff:127.0.0.1", "203.0.114.7"]

    async def dial(self, host, *_):
        dialled.append(host)
        raise httpcore.ConnectError("nobody is there")

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", dial)
    sent(receiver, resolve)
    assert dialled == ["203.0.114.7"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1"])
def test_loopback_in_any_spelling_is_refused_when_connecting(receiver, settings, host):
    """What the system makes of a spelling is judged, not the spelling."""
    settings.CELERIAC = settings.CELERIAC | {"webhook_private_addresses": False}
    assert not sent(receiver, None, host=host).is_success
    assert receiver.seen == []


def test_allowed_by_setting(receiver):
    """With the setting the same message arrives; a name that is looked up at once by many is looked up once."""
    asked = []

    async def resolve(host, port):
        asked.append(host)
        return ["127.0.0.1"]

    assert sent(receiver, resolve).is_success
    assert asked == ["rebound.example"]


def test_proxies_of_the_environment_are_not_used(receiver, monkeypatch):
    """A proxy would connect on our behalf, unjudged."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert sent(receiver, None, host="127.0.0.1").is_success


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://example.com/x", "is no web address"),
        ("example.com", "is no web address"),
        ("https://", "is no web address"),
        ("https://ann:pw@example.com/", "holds a user or a password"),
        ("https://example.com/#a", "holds a fragment"),
        ("https://example.com/a b", "holds a fragment or a space"),
        ("https://example.com:99999/", "names the port 99999"),
        ("https://[::1/", "cannot be read"),
        ("http://127.0.0.1/x", "is no public address"),
        ("http://[::1]/x", "is no public address"),
        ("http://localhost/x", "is no public address"),
        ("http://169.254.169.254/latest", "is no public address"),
    ],
)
def test_bad_address_is_refused_when_it_is_given(url, told):
    """What is wrong with an address is told, and its password is not repeated."""
    with pytest.raises(OptionInvalid) as caught:
        addresses.checked_url(url)
    assert told in str(caught.value)
    assert "pw" not in str(caught.value)
