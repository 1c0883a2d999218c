"""Who may see it, on what, by what means; and that nothing in the data can do more than be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2 as httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect

from diffcdr.bundle.writer import BundleWriter
from tests.bundles import write_bundle
from tests.console.conftest import Opening, at_console, faults
from tests.serving import serving

VIEWS = {
    "try?user=u00003": ".past .ratings li",
    "try?mode=new": ".lists .empty",
    "models": ".gains .whisker",
    "map?user=u00003": ".mapping ol li",
    "now": ".tile",
    "docs": ".operation",
}
"""Each view, and what is there once it is complete."""
READ, ADMIN = "a key to read", "a key for everything"


def key_line(key: str, scopes: str) -> str:
    return f"{scopes}:{hashlib.sha256(key.encode()).hexdigest()}"


@pytest.mark.parametrize(("width", "dark"), [(1600, False), (360, True)])
def test_every_view_fits_its_window_and_axe_finds_nothing_in_it(console: Opening, width: int, dark: bool) -> None:
    with console(width=width, dark=dark) as page:
        for view, shown in VIEWS.items():
            page.evaluate("view => location.hash = `#/${view}`", view)
            expect(page.locator(shown).first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
            found = Axe().run(page).response["violations"]
            assert [
                (view, one["id"], [node["target"] for node in one["nodes"]])
                for one in found
                if one["impact"] != "minor"
            ] == []


def test_it_is_used_by_keyboard_alone(console: Opening) -> None:
    with console() as page:
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        assert page.evaluate("location.hash").startswith("#/try")
        page.get_by_role("link", name="Models").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="Models")).to_have_attribute("aria-current", "page")
        outline = page.get_by_role("link", name="Models").evaluate("one => getComputedStyle(one).outlineStyle")
        assert outline == "solid"
        expect(page).to_have_title("Models · DiffCDR console")
        page.go_back()
        expect(page).to_have_title("Try · DiffCDR console")
        expect(page.locator("#live")).to_contain_text("items, strategy")


def test_files_have_types_tags_and_a_strict_policy(client: httpx.Client) -> None:
    moved = client.get("/console")
    assert moved.status_code == 307 and moved.headers["location"] == "console/"
    types = {"": "text/html", "app.js": "javascript", "base.css": "text/css", "icon.svg": "image/svg+xml"}
    for name, kind in types.items():
        answer = client.get(f"/console/{name}")
        assert answer.status_code == 200 and kind in answer.headers["content-type"]
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        again = client.get(f"/console/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
    for name in ("nothing.js", "%2e%2e/auth.py", "..%2fauth.py", "py.typed"):
        answer = client.get(f"/console/{name}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    page = client.get("/console/").text
    assert "<style" not in page and "onload" not in page and "style=" not in page


def test_nothing_is_shown_without_a_key_and_administration_asks_for_its_own(chromium: Browser, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", console=True)
    write_bundle(tmp_path / "other", seed=1)
    with serving(tmp_path / "bundle", api_keys=both_keys()) as client:
        address = str(client.base_url)
        with at_console(chromium, address, "try?user=u00003") as shown:
            page = shown.page
            expect(page.get_by_role("heading")).to_have_text("API key")
            expect(page.get_by_role("navigation")).to_have_count(0)
            assert "u00003" not in page.locator("body").inner_text()
            page.get_by_label("Key").fill("a guess")
            page.get_by_role("button", name="Open").click()
            expect(page.get_by_role("alert")).to_contain_text("does not open")
            page.get_by_label("Key").fill(READ)
            page.get_by_role("button", name="Open").click()
            expect(page.locator(".list > li").first).to_be_visible()
            expect(page.locator(".past")).to_contain_text("Source")
            page.get_by_role("link", name="Models").click()
            page.get_by_label("Directory").fill("other")
            page.get_by_role("button", name="Load", exact=True).click()
            dialog = page.get_by_role("dialog")
            expect(dialog).to_contain_text("admin")
            page.keyboard.press("Escape")
            expect(page.get_by_role("alert")).to_be_visible()
            page.get_by_role("button", name="Load", exact=True).click()
            dialog.get_by_label("Key").fill(ADMIN)
            dialog.get_by_role("button", name="Continue").click()
            expect(page.locator("a.bundle")).to_have_count(2)
            stored = page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]")
            assert stored == ["", 0, 0] and READ not in page.content()
            page.get_by_role("button", name="Forget keys").click()
            expect(page.get_by_role("heading")).to_have_text("API key")
            assert all(READ not in request and ADMIN not in request for request in shown.requests)


def both_keys() -> str:
    """The setting by which a service takes ``READ`` and ``ADMIN``."""
    return ";".join((key_line(READ, "read"), key_line(ADMIN, "read,write,admin")))


def refuse(route: Route) -> None:
    """Answer as the service does whose key is not known."""
    problem = {"type": "about:blank", "title": "No", "status": 401, "detail": "no key", "code": "unauthorized"}
    route.fulfill(status=401, json=problem, content_type="application/problem+json")


def open_with_read_key(page: Page, handler: Callable[[Route], None]) -> None:
    """Let ``handler`` answer requests, and open the console."""
    page.route("**/v1/**", handler)
    page.get_by_label("Key").fill(READ)
    page.get_by_role("button", name="Open").click()
    expect(page.locator(".list > li")).to_have_count(20)


def ask_for_another_user(page: Page) -> Locator:
    """Ask for a list and a history; the dialog that a refusal opens."""
    page.get_by_role("combobox", name="User").fill("u00001")
    page.get_by_role("combobox", name="User").press("Enter")
    return page.get_by_role("dialog")


def test_keys_that_are_taken_back_are_asked_for_again_once(chromium: Browser, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", console=True)
    taken = False

    def take_back(route: Route) -> None:
        if taken and route.request.headers.get("authorization") != f"Bearer {ADMIN}":
            refuse(route)
        else:
            route.continue_()

    with (
        serving(tmp_path / "bundle", api_keys=both_keys()) as client,
        at_console(chromium, str(client.base_url)) as shown,
    ):
        page = shown.page
        open_with_read_key(page, take_back)
        taken = True
        # History and list are asked for at once; one dialog serves both.
        dialog = ask_for_another_user(page)
        expect(dialog).to_have_count(1)
        expect(dialog).to_contain_text("is no longer valid")
        dialog.get_by_label("Key").fill(ADMIN)
        dialog.get_by_role("button", name="Continue").click()
        expect(dialog).to_have_count(0)
        page.get_by_label("Length").fill("7")
        page.get_by_label("Length").press("Tab")
        expect(page.locator(".list > li")).to_have_count(7)
        expect(dialog).to_have_count(0)


def test_who_is_refused_with_a_key_that_was_replaced_meanwhile_tries_the_new_one(
    chromium: Browser, tmp_path: Path
) -> None:
    write_bundle(tmp_path / "bundle", console=True)
    taken, late = False, list[Route]()

    def take_back(route: Route) -> None:
        if not taken or route.request.headers.get("authorization") == f"Bearer {ADMIN}":
            route.continue_()
        elif "/history" in route.request.url:
            late.append(route)
        else:
            refuse(route)

    with (
        serving(tmp_path / "bundle", api_keys=both_keys()) as client,
        at_console(chromium, str(client.base_url)) as shown,
    ):
        page = shown.page
        open_with_read_key(page, take_back)
        taken = True
        dialog = ask_for_another_user(page)
        dialog.get_by_label("Key").fill(ADMIN)
        dialog.get_by_role("button", name="Continue").click()
        expect(dialog).to_have_count(0)
        (waiting,) = late
        with page.expect_response(lambda answer: "/history" in answer.url and answer.ok):
            refuse(waiting)
        expect(dialog).to_have_count(0)


HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\">",
    "</li><script>document.title='owned'</script>",
    "\u202egnitar\u202c אבג",
    "'\"&amp;{{7*7}}${7*7}",
)


def test_hostile_ids_and_titles_are_text(chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = BundleWriter.titles

    def titles(self: BundleWriter, folder: str, given: Sequence[str]) -> None:
        plain(self, folder, [*HOSTILE, "long " * 2048, *given][: len(given)])

    monkeypatch.setattr(BundleWriter, "titles", titles)
    users = [*(text[:80] for text in HOSTILE), "u" * 256]
    items = [f"{text[:60]}{number}" for number in range(3) for text in HOSTILE] + [f"t{number}" for number in range(9)]
    write_bundle(tmp_path / "bundle", users=users, items=items, warm_users=3, console=True)
    with (
        serving(tmp_path / "bundle") as client,
        at_console(chromium, str(client.base_url), "models", width=360) as shown,
    ):
        page = shown.page
        for user in users:
            page.evaluate("user => location.hash = `#/try?user=${encodeURIComponent(user)}&k=100`", user)
            expect(page.get_by_role("combobox", name="User")).to_have_value(user)
            answer = client.post("/v1/recommendations", json={"user_id": user, "k": 100}).json()
            assert answer["strategy"] != "popular"
            expect(page.locator(".list > li")).to_have_count(len(answer["items"]))
            expect(page.locator(".past .ratings li")).to_have_count(3)
            assert shown.overflow() <= 0
        # The last of them is new in the target, so that every item is listed.
        assert all(text in page.locator(".list").inner_text() for text in HOSTILE)
        # Letters that are written from the right turn nothing round outside of themselves.
        assert page.locator(".list bdi").count() >= 21
        page.evaluate("user => location.hash = `#/map?user=${encodeURIComponent(user)}`", users[0])
        expect(page.locator(".mapping b")).to_have_text(users[0])
        page.evaluate("location.hash = '#/docs'")
        expect(page.locator(".operation").first).to_be_visible()
        assert page.title() == "Docs · DiffCDR console"
        assert page.locator("main img, main script").count() == 0
        assert faults(shown) == []


COUNT_LONG_TASKS = """() => {
  window.longTasks = [];
  new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((entry) => entry.duration)))
    .observe({ type: "longtask" });
}"""


def test_a_catalogue_of_100_000_items_and_users_stays_fluid(chromium: Browser, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", users=100_000, items=100_000, source_items=100_000, warm_users=50, console=True)
    with (
        serving(tmp_path / "bundle") as client,
        at_console(chromium, str(client.base_url), "try?user=u50000&k=100") as shown,
    ):
        page = shown.page
        expect(page.locator(".list > li")).to_have_count(100)
        suggestions = page.locator(".combo li:visible")
        page.evaluate(COUNT_LONG_TASKS)
        for box, typed, found in (("Exclude items", "title 99999", "Title 99999"), ("User", "u70011", "u70011")):
            page.get_by_role("combobox", name=box).fill("")
            page.get_by_role("combobox", name=box).press_sequentially(typed)
            expect(suggestions.first).to_contain_text(found)
            assert suggestions.count() <= 12
        page.get_by_role("combobox", name="User").press("Enter")
        expect(page.locator(".past .ratings li").first).to_be_visible()
        page.evaluate("location.hash = '#/try?mode=new'")
        page.get_by_role("combobox", name="Add source").press_sequentially("Source 7777")
        expect(suggestions.first).to_contain_text("Source 7777")
        # No key waits for the page, whatever the service takes to answer: half a second is for a crowded machine.
        assert page.evaluate("Math.max(0, ...longTasks)") < 500
        for view in ("map", "models", "docs", "try?user=u50000&k=100"):
            page.evaluate("view => location.hash = `#/${view}`", view)
            expect(page.locator(VIEWS.get(view, ".list > li, canvas")).first).to_be_visible()
            assert page.evaluate("document.querySelectorAll('*').length") < 2_500
        assert faults(shown) == []
