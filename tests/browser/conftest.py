"""A reader with a real browser: Chromium opens the room's pages as a person does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.core.signals import request_finished
from playwright.sync_api import Browser, Page, sync_playwright

from execution import ledger

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = {"wide": (1440, 900), "phone": (390, 844)}
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what opens a browser; without Chromium it is skipped, and says so."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="Chromium is not installed"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for a module; each reader gets a profile of its own.

    It is closed with the module: while it is open its event loop runs in this thread, and an asynchronous skill that
    another test performs here would be taken for a part of it.
    """
    # Playwright keeps an event loop in this thread, and Django would take it for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@dataclass
class Reader:
    """A person before the room: opens pages, and is told of every error in the browser and of every foreign host."""

    page: Page
    origin: str
    errors: list[str]

    def open(self, path: str) -> Page:
        """Open a path of the room, or a whole address."""
        self.page.goto(path if path.startswith("http") else self.origin + path)
        return self.page

    def serious(self) -> list[str]:
        """Return what axe-core finds of serious or critical impact on the open page."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {node['html'][:200]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    def picture(self, name: str) -> None:
        """Keep a picture of the open page for the docs, where pictures are asked for."""
        if os.environ.get("CELERIAC_PICTURES"):
            PICTURES.mkdir(exist_ok=True)
            self.page.screenshot(path=PICTURES / f"{name}.png")


@pytest.fixture
def reader(chromium: Browser, live_server: Any, client: Any) -> Iterator[Any]:
    """Return a verb that seats a person before the room: `reader()` an operator with every right, `reader(user)` another."""
    contexts = []
    request_finished.connect(_let_go)

    def seat(user: User | None = None, *, width: str = "wide", scheme: str = "light") -> Reader:
        user = user or User.objects.create_superuser("operator", password="it opens the room")
        client.cookies.clear()  # another person's session stays open
        client.force_login(user)
        size = WIDTHS[width]
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, timezone_id="Europe/Berlin"
        )
        contexts.append(context)
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
        context.set_default_timeout(10_000)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: _refuse_foreign(asked.url, live_server.url, errors))
        return Reader(page=page, origin=live_server.url, errors=errors)

    yield seat
    request_finished.disconnect(_let_go)
    for context in contexts:
        context.close()


def _let_go(**_: Any) -> None:
    """Close what the server's thread has open: the thread ends with its request."""
    ledger.close()


def _refuse_foreign(url: str, origin: str, errors: list[str]) -> None:
    if not url.startswith((origin, "data:", "blob:")):
        errors.append(f"asked a foreign host: {url}")
