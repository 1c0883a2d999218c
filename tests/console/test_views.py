"""Models, Map, Now and Docs, as a person uses them."""

from __future__ import annotations

import json
import math
import re

import httpx2 as httpx
import pytest
from playwright.sync_api import expect

from tests.bundles import METRICS, PAIRED, STANDARD_ERRORS
from tests.console.conftest import Opening


def ids(client: httpx.Client) -> dict[str, str]:
    """State -> id of each loaded bundle."""
    return {model["state"]: model["id"] for model in client.get("/v1/models").json()["models"]}


def test_models_show_figures_data_and_what_was_left_out(console: Opening) -> None:
    with console("models") as page:
        chart = page.locator("figure", has_text="NDCG@20")
        rows = chart.get_by_role("listitem").all_inner_texts()
        own = METRICS["test"]["diffcdr"]["ndcg@20"]
        others = {name: figures["ndcg@20"] for name, figures in METRICS["test"].items() if name != "diffcdr"}
        ranked = sorted(others, key=lambda name: own - others[name])
        assert [row.split()[0] for row in rows] == ["diffcdr", *ranked]
        spread = {name: figures["ndcg@20"] for name, figures in STANDARD_ERRORS["test"].items()}
        paired = {name: each.standard_error for name, each in PAIRED["test"].items()}
        for row, name in zip(rows[1:], ranked, strict=True):
            gain, half = re.findall(r"[+−][\d.]+|± [\d.]+", row)
            assert float(gain.replace("−", "-")) == pytest.approx(own - others[name], abs=5e-3)
            assert float(half[2:]) == pytest.approx(
                1.96 * (paired.get(name) or math.hypot(spread["diffcdr"], spread[name])), rel=0.06
            )
        expect(chart.locator(".whisker")).to_have_count(len(others))
        expect(chart.locator(".own")).to_contain_text("diffcdr")
        table = page.get_by_role("region", name="Removed by cleaning")
        expect(table).to_contain_text("duplicate")
        expect(table.locator("tr", has_text="kept")).to_contain_text("990")
        expect(page.locator(".facts", has_text="source users")).to_contain_text("400")


def test_a_bundle_is_activated_and_rolled_back(console: Opening, client: httpx.Client) -> None:
    before = ids(client)
    with console("models") as page:
        page.locator(f"a.bundle[data-id='{before['loaded']}']").click()
        expect(page.locator(".note", has_text="no histories and no map")).to_be_visible()
        page.get_by_role("button", name="Activate").click()
        expect(page.get_by_role("button", name="Active")).to_be_disabled()
        assert ids(client)["stable"] == before["loaded"]
        page.get_by_role("button", name="Roll back").click()
        expect(page.get_by_role("button", name="Activate")).to_be_enabled()
    assert ids(client)["stable"] == before["stable"]


def test_traffic_is_split_and_shadowed_and_a_bundle_that_is_not_there_is_refused(
    console: Opening, client: httpx.Client
) -> None:
    other = next(model["id"] for model in client.get("/v1/models").json()["models"][1:])
    with console("models", refused=[422]) as page:
        page.get_by_label("Canary").select_option(other)
        page.get_by_label("Percent of users").fill("25")
        page.get_by_label("Shadow traffic").select_option(other)
        page.get_by_label("Percent of requests").fill("10")
        page.get_by_role("button", name="Split traffic").click()
        expect(page.locator("a.bundle .badge", has_text="canary")).to_be_visible()
        compared = page.get_by_role("region", name="Experiment")
        expect(compared).to_contain_text("25 % · running")
        expect(compared.locator("dd", has_text="undecided")).to_have_count(2)
        expect(compared.locator("tr", has_text="who clicked")).to_contain_text("–")
        traffic = client.get("/v1/models").json()["traffic"]
        assert (traffic["canary"], traffic["percent"], traffic["shadow"]["percent"]) == (other, 25, 10)
        page.get_by_label("Directory").fill("nowhere")
        page.get_by_role("button", name="Load", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("nowhere")
        page.get_by_label("Canary").select_option("")
        page.get_by_label("Shadow traffic").select_option("")
        page.get_by_role("button", name="Split traffic").click()
        expect(page.locator("a.bundle .badge", has_text="canary")).to_have_count(0)
        expect(compared).to_have_count(0)
    assert client.get("/v1/models").json()["traffic"]["canary"] is None


@pytest.mark.parametrize("user", ["u00003", "u00300"])
def test_the_map_marks_a_user_and_names_what_is_near(console: Opening, client: httpx.Client, user: str) -> None:
    with console(f"map?user={user}") as page:
        near = [item.get("title", item["item_id"]) for item in client.get(f"/v1/users/{user}/map").json()["near"]]
        expect(page.locator(".mapping ol li")).to_have_count(len(near))
        assert [text.split("\n")[0] for text in page.locator(".mapping ol li").all_inner_texts()] == near
        target = page.get_by_role("img", name=re.compile("^Target vectors"))
        expect(target).to_have_attribute("aria-label", re.compile(f"128 points, {user} marked"))
        page.get_by_label("most rated items").uncheck()
        expect(target).to_have_attribute("aria-label", re.compile("120 points"))
        before = target.screenshot()
        target.focus()
        page.keyboard.press("+")
        page.keyboard.press("ArrowLeft")
        assert target.screenshot() != before
        page.get_by_label("transferred by ridge").uncheck()
        expect(target).to_have_attribute("aria-label", re.compile("80 points"))
        page.get_by_label("transferred by ridge").check()
        page.get_by_role("button", name="All: Target vectors").click()
        target.blur()
        assert target.screenshot() == before
        page.get_by_role("link", name="Open this user’s list").click()
        page.wait_for_url(f"**/#/try?user={user}")


def test_a_point_of_the_map_is_chosen_with_the_pointer(console: Opening, client: httpx.Client) -> None:
    users = client.get("/v1/map").json()["users"]
    # Within the plane, and with nobody else close by.
    inside = [user for user in users if max(map(abs, user["source"])) < 0.9]
    lone = max(inside, key=lambda user: sorted(math.dist(user["source"], other["source"]) for other in users)[1])
    with console("map") as page:
        source = page.get_by_role("img", name=re.compile("^Source vectors"))
        expect(source).to_be_visible()
        box = source.bounding_box()
        assert box is not None
        xs, ys = zip(*(user["source"] for user in users), strict=True)
        scale = 0.92 * min(box["width"] / (max(xs) - min(xs)), box["height"] / (max(ys) - min(ys)))
        x, y = lone["source"][0] - (max(xs) + min(xs)) / 2, lone["source"][1] - (max(ys) + min(ys)) / 2
        page.mouse.move(box["x"] + box["width"] / 2 + x * scale, box["y"] + box["height"] / 2 - y * scale)
        expect(page.locator(".tip:visible")).to_have_text(lone["user_id"])
        page.mouse.down()
        page.mouse.up()
        page.wait_for_url(f"**user={lone['user_id']}")
        expect(page.locator(".badge", has_text="on the map")).to_be_visible()


def test_the_map_of_any_loaded_bundle_is_looked_at_by_keys_alone(console: Opening, client: httpx.Client) -> None:
    stable, other = (model["id"] for model in client.get("/v1/models").json()["models"])
    users = [user["user_id"] for user in client.get("/v1/map").json()["users"]]
    with console(f"map?user={users[3]}") as page:
        target = page.get_by_role("img", name=re.compile("^Target vectors"))
        target.focus()
        page.keyboard.press("PageDown")
        page.wait_for_url(f"**user={users[4]}")
        page.keyboard.press("PageUp")
        page.keyboard.press("PageUp")
        page.wait_for_url(f"**user={users[2]}")
        expect(page.locator(".mapping b")).to_have_text(users[2])
        page.get_by_label("Bundle").select_option(other)
        expect(page.locator("main")).to_contain_text("published without a map")
        page.wait_for_url(f"**bundle={other}*")
        page.reload()
        expect(page.get_by_label("Bundle")).to_have_value(other)
        page.get_by_label("Bundle").select_option(stable)
        expect(page.locator(".mapping b")).to_have_text(users[2])


def test_now_shows_what_happens(console: Opening, client: httpx.Client) -> None:
    with console("now") as page:
        expect(page.locator(".tile", has_text="State store")).to_contain_text("up")
        expect(page.locator(".tile").first).to_contain_text("Requests/s")
        for user in ("u00300", "u00003", "nobody"):
            for _ in range(5):
                client.post("/v1/recommendations", json={"user_id": user})
        strategies = page.get_by_role("region", name="Lists/s by strategy")
        expect(strategies.locator(".key", has_text="transfer")).to_be_visible()
        expect(strategies.locator("path.line").first).to_have_attribute("d", re.compile(r"^M[\d.]+ [\d.]+L"))
        reasons = page.get_by_role("region", name="Fallbacks/s by reason")
        expect(reasons).to_contain_text("unknown user")
        assert float(page.locator(".tile", has_text="Requests/s").locator("b").inner_text()) > 0
        expect(page.locator(".tile", has_text="p50 latency")).to_contain_text("ms")


def test_every_operation_is_described_and_what_changes_nothing_runs_on_the_data_there_is(
    console: Opening, client: httpx.Client, request: pytest.FixtureRequest
) -> None:
    document = client.get("/openapi.json").json()
    operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
    request.addfinalizer(lambda: client.delete("/v1/lists/seen-here"))
    assert client.put("/v1/lists/seen-here", json={"items": ["t00001"]}).is_success
    with console("docs", refused=[400]) as page:
        sections = page.locator(".operation")
        assert sections.count() == len(operations)
        ran = 0
        for section in sections.all():
            if section.locator("form .badge.warn").count():
                continue
            section.get_by_role("button", name="Run").click()
            status = section.locator(".run .badge").first
            expect(status).to_have_text("200")
            expect(section.locator("pre")).not_to_be_empty()
            ran += 1
        assert ran >= 15
        first = page.get_by_role("region", name="POST /v1/recommendations", exact=True)
        body = json.loads(first.get_by_label("Body").input_value())
        assert client.post("/v1/recommendations", json=body).json()["strategy"] != "popular"
        first.get_by_label("Body").fill("{")
        first.get_by_role("button", name="Run").click()
        expect(first.locator(".run .badge").first).to_have_text("400")
        page.locator(".toc").get_by_role("button", name="Every loaded bundle").click()
        expect(page.get_by_role("heading", name="Every loaded bundle")).to_be_focused()
