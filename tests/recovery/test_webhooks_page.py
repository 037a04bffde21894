"""The page about webhooks: its receiver verifies what we send, its commands run, and its settings are those there are."""

import os
import re
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from recovery import conf, webhooks
from recovery.management.commands.webhooks import Command
from tests.conftest import wait_until
from tests.recovery.test_outbox import happen

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.django_db(transaction=True)


def block(kind):
    """Return the first block of a kind."""
    return re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL).group(1)


def is_open(port):
    """Tell whether somebody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_receiver_on_the_page_verifies(settings, tmp_path):
    """The receiver as it stands takes what is signed by its secret, once, and refuses the rest."""
    from recovery import courier

    settings.CELERIAC = settings.CELERIAC | {"webhook_private_addresses": True}
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    made = webhooks.add("shop", f"http://127.0.0.1:{port}/hooks", kinds=["run.failed"])
    (tmp_path / "receiver.py").write_text(block("python"))
    said = tmp_path / "said.txt"
    with said.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "receiver.py"), str(port)],
            env=os.environ | {"WEBHOOK_SECRET": made.secret},
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
    try:
        wait_until(lambda: is_open(port))
        happen()
        assert courier.lead() == 1
        webhooks.replay_since("shop", timezone.now() - timedelta(hours=1))
        assert webhooks.send_test("shop").is_success
        assert [line.split()[0] for line in said.read_text().splitlines()] == [
            "celeriac.run.failed",
            "celeriac.webhook.test",
        ]
        webhooks.rotate("shop", keep=0)
        assert webhooks.send_test("shop").status == 401
    finally:
        process.kill()
        process.wait()


def test_commands_on_the_page_are_commands():
    """Each line of the page is understood."""
    parser = Command().create_parser("manage.py", "webhooks")
    lines = re.findall(r"^manage.py webhooks (.*)$", PAGE, re.MULTILINE)
    assert len(lines) >= 10
    for line in lines:
        parser.parse_args([word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)])


def test_settings_on_the_page_are_those_there_are():
    """Each setting of webhooks stands there with its default."""
    for name in (name for name in conf.Settings.__dataclass_fields__ if name.startswith("webhook_")):
        default = getattr(conf.Settings(), name)
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        assert f"| `{name}` | {shown} |" in PAGE, name
