"""A real browser for tests of pages: the system's Chromium, driven by Playwright, with a record of what went wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.waiting import LIMIT_SECONDS

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome")
# As root, and in containers with a small /dev/shm.
OPTIONS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")
PATIENCE_MS = LIMIT_SECONDS * 1000
expect.set_options(timeout=PATIENCE_MS)  # its own five seconds are too few for a crowded machine


@dataclass
class Visit:
    """A page, and what it did: ``errors`` of scripts and console, and ``requests``, the addresses it asked for."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("requestfailed", lambda request: self.errors.append(f"{request.url}: {request.failure}"))
        self.page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        width = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return int(width)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless Chromium. Not for the whole session: while it lives, ``asyncio.run`` fails in this thread."""
    executable = next(filter(None, map(shutil.which, EXECUTABLES)), None)
    if executable is None:
        pytest.fail("chromium is not installed; `make test` installs it, or: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Browser, *, width: int = 1280, height: int = 900, dark: bool = False) -> Iterator[Visit]:
    """A fresh page without cookies or cache, ``width`` x ``height`` CSS pixels; closed at the end."""
    with browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    ) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield Visit(context.new_page())
