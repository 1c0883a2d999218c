"""A service with two bundles, and a browser at its console."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, Page

from tests.browser import Visit, chromium, visit
from tests.bundles import write_bundle
from tests.serving import serving

__all__ = ["chromium"]

Opening = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service of one bundle, with another loaded beside it; what its tests change they change back."""
    folder = tmp_path_factory.mktemp("console")
    write_bundle(folder / "first", users=400, items=120, warm_users=40, console=True)
    write_bundle(folder / "second", seed=1, users=400, items=120, warm_users=40)
    with serving(folder / "first", state_url=f"sqlite:{folder / 'state.sqlite'}") as client:
        assert client.post("/v1/admin/models/load", json={"path": "second"}).is_success
        yield client


@pytest.fixture
def console(chromium: Browser, client: httpx.Client) -> Opening:
    """Open a view of ``client``'s console; at the end nothing may have gone wrong in the page.

    ``refused``: statuses that the page is to be answered with; browsers note each. ``broken``: a connection is to fail.
    """

    @contextmanager
    def opened(
        view: str = "try", *, width: int = 1280, dark: bool = False, refused: Sequence[int] = (), broken: bool = False
    ) -> Iterator[Page]:
        with at_console(chromium, str(client.base_url), view, width=width, dark=dark) as shown:
            yield shown.page
            found = faults(shown, refused=refused)
            assert [one for one in found if not (broken and "net::ERR_CONNECTION_REFUSED" in one)] == []
            assert all(address.startswith(str(client.base_url)) for address in shown.requests)

    return opened


def faults(shown: Visit, *, refused: Sequence[int] = ()) -> list[str]:
    """What went wrong in the page, but for statuses ``refused`` and for questions it gave up for newer ones."""
    expected = [*(f"status of {status}" for status in refused), "net::ERR_ABORTED"]
    return [error for error in shown.errors if not any(text in error for text in expected)]


@contextmanager
def at_console(
    browser: Browser, address: str, view: str = "try", *, width: int = 1280, dark: bool = False
) -> Iterator[Visit]:
    """The console of the service at ``address``, at the hash ``view``, once something is shown."""
    with visit(browser, width=width, dark=dark) as shown:
        shown.page.goto(f"{address.rstrip('/')}/console/#/{view}")
        shown.page.wait_for_selector("main h1", state="attached")
        yield shown
