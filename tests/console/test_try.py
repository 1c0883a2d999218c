"""The Try view: a user's history and list, whatever is asked of it, a new user, and two bundles side by side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.bundles import write_bundle
from tests.console.conftest import Opening, at_console
from tests.serving import serving

COLD, WARM = "u00300", "u00003"


def listed(page: Page, name: str = "List") -> list[str]:
    """Ids of the list called ``name``, in order."""
    rows = page.get_by_role("region", name=name, exact=True).locator(".list > li")
    expect(rows.first).to_be_visible()
    return [str(row.get_attribute("data-item")) for row in rows.all()]


def expect_list(page: Page, wanted: list[str], name: str = "List") -> None:
    """Wait until the list called ``name`` is ``wanted``."""
    rows = page.get_by_role("region", name=name, exact=True).locator(".list > li")
    expect(rows).to_have_count(len(wanted))
    for row, item in enumerate(wanted):
        expect(rows.nth(row)).to_have_attribute("data-item", item)


def suggestions(page: Page) -> Locator:
    return page.locator(".combo li")


def asked(client: httpx.Client, **body: Any) -> list[str]:
    return [item["item_id"] for item in client.post("/v1/recommendations", json=body).json()["items"]]


def test_a_user_s_history_and_list_are_shown_as_the_service_answers(console: Opening, client: httpx.Client) -> None:
    with console(f"try?user={COLD}") as page:
        expect_list(page, asked(client, user_id=COLD, k=20))
        expect(page.locator(".answer .badge")).to_have_text("transfer")
        expect(page.locator(".answer .why")).to_contain_text("Transferred")
        expect(page.locator(".timing")).to_contain_text("queue")
        rated = client.get(f"/v1/users/{COLD}/history").json()["items"]
        shown = page.locator(".past .ratings li")
        expect(shown).to_have_count(len(rated))
        assert [text.split("\n")[0] for text in shown.all_inner_texts()] == [item["title"] for item in rated]
        first = client.post("/v1/recommendations", json={"user_id": COLD}).json()["items"][1]
        row = page.locator(".list > li").nth(1)
        expect(row).to_contain_text(first.get("title") or first["item_id"])
        assert float(row.locator(".score .num").inner_text()) == pytest.approx(first["score"], rel=0.01)


def test_ids_are_suggested_while_typing_and_chosen_by_keys(console: Opening, client: httpx.Client) -> None:
    with console(refused=[404]) as page:
        listed(page)
        box = page.get_by_role("combobox", name="User")
        box.fill("u0003")
        expect(suggestions(page)).to_have_count(10)
        assert suggestions(page).first.inner_text() == "u00030"
        box.press("ArrowDown")
        box.press("ArrowDown")
        expect(page.locator(".combo li[aria-selected=true]")).to_have_text("u00031")
        box.press("Enter")
        expect(suggestions(page).first).to_be_hidden()
        page.wait_for_url("**user=u00031*")
        expect(page.locator(".answer .badge")).to_have_text("warm")
        expect_list(page, asked(client, user_id="u00031", k=20))
        box = page.get_by_role("combobox", name="User")
        box.fill("nobody at all")
        box.press("Enter")
        expect(page.locator(".answer .why")).to_contain_text("does not know this user")
        expect(page.locator(".past")).to_contain_text("No history")


def test_length_exclusions_and_diversity_are_asked_for(console: Opening, client: httpx.Client) -> None:
    with console(f"try?user={COLD}") as page:
        first, second, *_ = listed(page)
        page.get_by_label("Length").fill("5")
        page.get_by_label("Length").press("Tab")
        expect(page.locator(".list > li")).to_have_count(5)
        page.locator(".list > li").first.get_by_role("button").click()
        expect(page.locator(".list > li").first).to_have_attribute("data-item", second)
        expect_list(page, asked(client, user_id=COLD, k=5, exclude_items=[first]))
        page.get_by_role("combobox", name="Exclude items").fill(second)
        suggestions(page).first.click()
        expect(page.get_by_role("list", name="Excluded items").get_by_role("listitem")).to_have_count(2)
        expect(page.locator(f".list > li[data-item='{second}']")).to_have_count(0)
        page.get_by_role("slider", name="Diversity").press("End")
        page.wait_for_url("**diversity=1*")
        expect_list(page, asked(client, user_id=COLD, k=5, exclude_items=[first, second], diversity=1))
        page.get_by_role("list", name="Excluded items").get_by_role("button").first.click()
        expect(page.get_by_role("list", name="Excluded items").get_by_role("listitem")).to_have_count(1)


def test_somebody_new_is_folded_in_from_chosen_and_pasted_ratings(console: Opening, client: httpx.Client) -> None:
    with console() as page:
        page.get_by_label("New user").check(force=True)
        expect(page.locator(".lists")).to_contain_text("Add one or more ratings")
        box = page.get_by_role("combobox", name="Add source ratings")
        box.fill("source 3")
        suggestions(page).filter(has_text="Source 3s").click()
        expect(page.locator(".answer .badge")).to_have_text("fold-in")
        expect_list(page, asked(client, history=[{"item_id": "s00003", "rating": 5}], k=20))
        page.get_by_text("Paste ratings").click()
        page.get_by_label("One “item, rating”").fill("s00019, 2\nwhat is this\ns00003 4.5")
        page.get_by_role("button", name="Add ratings").click()
        expect(page.get_by_text("2 ratings added, 1 lines not understood")).to_be_visible()
        pasted = [{"item_id": "s00019", "rating": 2}, {"item_id": "s00003", "rating": 4.5}]
        expect_list(page, asked(client, history=pasted, k=20))
        ratings = page.get_by_role("list", name="Ratings", exact=True).get_by_role("listitem")
        expect(ratings.get_by_text("Source 3", exact=True)).to_be_visible()
        expect(ratings.locator(".badge")).to_have_count(0)
        for left in (1, 0):
            ratings.first.get_by_role("button").click()
            expect(ratings).to_have_count(left)
        expect(page.locator(".lists")).to_contain_text("Add one or more ratings")


def test_an_item_that_is_not_known_is_marked_and_counts_for_nothing(console: Opening, client: httpx.Client) -> None:
    with console("try?mode=new&rated=5+s00003&rated=5+s0000") as page:
        ratings = page.get_by_role("list", name="Ratings", exact=True).get_by_role("listitem")
        expect(ratings.nth(1).locator(".badge")).to_have_text("unknown item")
        expect(ratings.nth(0).locator(".badge")).to_have_count(0)
        expect_list(page, asked(client, history=[{"item_id": "s00003", "rating": 5}], k=20))


def test_it_opens_on_a_user_without_target_ratings(console: Opening, client: httpx.Client) -> None:
    users = client.get("/v1/users", params={"limit": 1}).json()["users"]
    assert client.post("/v1/recommendations", json={"user_id": users[0]}).json()["strategy"] == "warm"
    with console() as page:
        expect(page.locator(".answer .badge")).to_have_text("transfer")


def test_two_bundles_stand_side_by_side_with_what_they_share(console: Opening, client: httpx.Client) -> None:
    first, second = (model["id"] for model in client.get("/v1/models").json()["models"])
    with console(f"try?user={COLD}") as page:
        page.get_by_label("Compare with").select_option(second)
        left, right = listed(page, "List A"), listed(page, "List B")
        assert left == asked(client, user_id=COLD, model=first)
        assert right == asked(client, user_id=COLD, model=second)
        common = set(left) & set(right)
        assert 0 < len(common) < 20
        expect(page.locator("[data-overlap]")).to_have_attribute("data-overlap", f"{len(common) / 20:.2f}")
        expect(page.locator(".joins path")).to_have_count(len(common))
        item = next(iter(common))
        row = page.get_by_role("region", name="List A").locator(f"[data-item='{item}']")
        expect(row.locator(".also")).to_have_text(f"#{right.index(item) + 1}")
        row.hover()
        expect(page.get_by_role("region", name="List B").locator(".linked")).to_have_attribute("data-item", item)


def test_opting_out_turns_the_list_into_the_popular_one(console: Opening, client: httpx.Client) -> None:
    with console(f"try?user={WARM}", refused=[404]) as page:
        expect(page.locator(".answer .badge")).to_have_text("warm")
        page.get_by_role("button", name="Opt out …").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert client.post("/v1/recommendations", json={"user_id": WARM}).json()["strategy"] == "warm"
        page.get_by_role("button", name="Opt out …").click()
        page.get_by_role("dialog").get_by_role("button", name="Opt out", exact=True).click()
        expect(page.locator(".answer .badge")).to_have_text("popular")
        expect(page.locator(".answer .why")).to_contain_text("opted out")
        expect(page.locator(".past")).to_contain_text("No history")
        popular = [item["item_id"] for item in client.get("/v1/items/popular").json()["items"]]
        expect_list(page, popular)
        page.get_by_role("button", name="Opt in again").click()
        expect(page.locator(".answer .badge")).to_have_text("warm")
        expect(page.locator(".past .ratings li").first).to_be_visible()


def test_what_was_asked_is_in_the_address_and_there_after_a_reload(console: Opening, client: httpx.Client) -> None:
    with console(f"try?user={COLD}") as page:
        first, *_ = listed(page)
        page.locator(".list > li").first.get_by_role("button").click()
        page.get_by_label("Length").fill("7")
        page.get_by_label("Exclude rated items").uncheck()
        wanted = asked(client, user_id=COLD, k=7, exclude_items=[first], exclude_seen=False)
        expect_list(page, wanted)
        page.reload()
        expect_list(page, wanted)
        page.get_by_role("link", name="Models").click()
        expect(page).to_have_title("Models · DiffCDR console")
        page.go_back()
        expect_list(page, wanted)
        page.evaluate("location.hash = '#/try?mode=new&rated=5+s00003&rated=bad'")
        expect_list(page, asked(client, history=[{"item_id": "s00003", "rating": 5}], k=20))
        page.evaluate("location.hash = '#/try?user=u00003&k=no&diversity=x&model=nobody'")
        expect_list(page, asked(client, user_id="u00003"))


def test_a_bundle_without_histories_says_so(console: Opening, client: httpx.Client) -> None:
    other = next(model["id"] for model in client.get("/v1/models").json()["models"] if not model["histories"])
    with console(f"try?user={COLD}&model={other}") as page:
        expect(page.locator(".past")).to_contain_text("does not hold histories")


@pytest.mark.parametrize(
    ("status", "text"),
    [(503, "the queue is full"), (None, "The service does not answer"), (200, "The service does not")],
)
def test_what_fails_is_said_and_tried_again(console: Opening, status: int | None, text: str) -> None:
    def fail(route: Route) -> None:
        if status is None:
            route.abort("connectionrefused")
        elif status == 200:
            route.fulfill(status=200, content_type="text/html", body="<h1>a proxy</h1>")
        else:
            problem = {"title": "Too busy", "status": status, "detail": "the queue is full; try again in 1 s"}
            route.fulfill(status=status, json=problem, content_type="application/problem+json")

    with console(f"try?user={COLD}", refused=[503], broken=status is None) as page:
        before = listed(page)
        page.route("**/v1/recommendations", fail)
        page.get_by_label("Exclude rated items").uncheck()
        expect(page.get_by_role("alert")).to_contain_text(text)
        page.unroute("**/v1/recommendations")
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("alert")).to_have_count(0)
        assert len(listed(page)) == len(before)


def test_a_slow_answer_is_seen_to_be_waited_for(console: Opening) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    with console(f"try?user={COLD}") as page:
        listed(page)
        page.route("**/v1/recommendations", hold)
        page.get_by_label("Length").fill("5")
        page.get_by_label("Length").press("Tab")
        expect(page.locator("html.busy")).to_have_count(1)
        held[0].continue_()
        expect(page.locator(".list > li")).to_have_count(5)
        expect(page.locator("html.busy")).to_have_count(0)


def test_a_bundle_that_ranks_asks_for_no_stars(chromium: Browser, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", objective="ranking", fold_in="als", console=True)
    view = "try?mode=new&rated=5+s00003"
    with serving(tmp_path / "bundle") as ranking, at_console(chromium, str(ranking.base_url), view) as shown:
        expect(shown.page.get_by_text("each rating counts as a like")).to_be_visible()
        expect(shown.page.get_by_role("spinbutton", name=re.compile("^Rating of"))).to_have_count(0)


def test_a_bundle_of_likes_says_which_ratings_are_some(chromium: Browser, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", objective="ranking", fold_in="als", console=True, likes=4.0)
    view = "try?mode=new&rated=3+s00003&rated=4+s00009"
    with serving(tmp_path / "bundle") as ranking, at_console(chromium, str(ranking.base_url), view) as shown:
        assert ranking.get("/v1/models").json()["models"][0]["likes"] == {"source": 4.0, "target": 4.0}
        expect(shown.page.get_by_text("ratings from 4 on are likes")).to_be_visible()
        expect(shown.page.get_by_role("spinbutton", name=re.compile("^Rating of"))).to_have_count(2)
        expect_list(shown.page, asked(ranking, history=[{"item_id": "s00009", "rating": 4}]))


def test_a_bundle_that_predicts_ratings_asks_for_them(console: Opening) -> None:
    with console("try?mode=new&rated=5+s00003") as page:
        expect(page.get_by_role("spinbutton", name=re.compile("^Rating of"))).to_have_count(1)


def test_each_item_says_why_and_opens_to_shares_that_add_up(console: Opening, client: httpx.Client) -> None:
    with console(f"try?user={COLD}&k=5", width=390) as page:
        items = client.post("/v1/recommendations", json={"user_id": COLD, "k": 5, "explain": True}).json()["items"]
        for number, item in enumerate(items):
            row = page.locator(".list > li").nth(number)
            sources = item["explanation"]["sources"]
            wanted = f"because this user rated {sources[0]['title']}" if sources else "no single rating spoke for it"
            expect(row.locator("summary")).to_have_text(wanted)
            row.locator("summary").click()
            shares = row.get_by_role("list", name="Shares of the score").get_by_role("listitem")
            expect(shares.first).to_be_visible()
            amounts = [text.replace("−", "-").removesuffix(" %") for text in shares.locator(".num").all_inner_texts()]
            assert sum(map(float, amounts)) == pytest.approx(100.0, abs=0.5)
    with console("try?mode=new&rated=5+s00003") as page:
        expect(page.locator(".because summary").filter(has_text="because you rated Source 3").first).to_be_visible()


def test_where_it_cannot_be_said_why_the_list_says_so_once(console: Opening, client: httpx.Client) -> None:
    second = client.get("/v1/models").json()["models"][1]["id"]
    with console(f"try?user={COLD}&model={second}") as page:
        expect(page.locator(".answer .why")).to_contain_text("the bundle does not have this user’s ratings")
        expect(page.locator(".because")).to_have_count(0)
    with console("try?user=nobody", refused=[404]) as page:
        expect(page.locator(".answer .badge")).to_have_text("popular")
        expect(page.locator(".answer .why")).not_to_contain_text("cannot be explained")
