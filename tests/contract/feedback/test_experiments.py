"""Canary against stable over HTTP: whole over replicas, without those who are erased, and open to nobody's forgery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from diffcdr.client import Client, Event
from service.schemas.experiments import ExperimentsAnswer
from tests.bundles import write_bundle
from tests.serving import serving

KEY = "0123456789abcdef0123456789abcdef"  # pragma: allowlist secret


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    write_bundle(root / "one", users=300, items=60)
    write_bundle(root / "two", users=300, items=60, seed=1)
    return root


def read(client: httpx.Client) -> dict[str, Any]:
    response = client.get("/v1/experiments")
    assert response.status_code == 200, response.text
    ExperimentsAnswer.model_validate_json(response.content)
    answer: dict[str, Any] = response.json()
    return answer


def split(client: httpx.Client, canary: str, percent: float) -> None:
    traffic = {"canary": canary, "percent": percent, "salt": "spring"}
    assert client.put("/v1/admin/traffic", json=traffic).status_code == 200


def test_both_replicas_count_together_and_an_erasure_takes_its_share_back(root: Path, redis_url: str) -> None:
    options: dict[str, Any] = {"state_url": redis_url, "feedback_key": KEY}
    with serving(root / "one", **options) as one, serving(root / "one", **options) as two:
        assert read(one) == {"experiments": [], "attribution_hours": 168.0}
        canary: str = one.post("/v1/admin/models/load", json={"path": "two"}).json()["id"]
        split(one, canary, 50.0)
        bundles = {}
        with Client(str(one.base_url)) as first, Client(str(two.base_url)) as second:
            for number in range(40):
                user = f"u{number:05d}"
                shown = first.recommend(user, k=3)
                bundles[user] = shown.bundle
                came_of: dict[str, Any] = {"recommendation_id": shown.recommendation_id}
                sent = [
                    Event(f"i{item.rank}", user, item.item_id, type="impression", position=item.rank, **came_of)
                    for item in shown.items
                ]
                # On the canary every fourth clicks twice and buys, of stable nobody.
                if shown.bundle == canary and number % 4 == 0:
                    sent += [Event(f"c{n}", user, shown.items[n].item_id, type="click", **came_of) for n in (0, 1)]
                    sent += [Event("p", user, shown.items[0].item_id, type="purchase", **came_of)]
                # What is sent again to another replica counts once.
                assert second.add_events(sent).accepted == len(sent)
                assert first.add_events(sent).duplicates == len(sent)
            # Who names the model was not assigned, and counts for nobody.
            named = first.recommend("u00001", model=canary)
            click = Event(
                "n", "u00001", named.items[0].item_id, type="click", recommendation_id=named.recommendation_id
            )
            assert first.add_events([click]).accepted == 1
            (report,) = first.experiments().experiments
            (elsewhere,) = second.experiments().experiments
        of_canary = [user for user, bundle in bundles.items() if bundle == canary]
        buyers = [user for user in of_canary if int(user[1:]) % 4 == 0]
        assert report.running and report.percent == 50.0 and [arm.arm for arm in report.arms] == ["stable", "canary"]
        stable, found = report.arms
        assert (stable.users, stable.impressions, stable.clicks, stable.clickers) == (
            40 - len(of_canary),
            3 * (40 - len(of_canary)),
            0,
            0,
        )
        assert (found.bundle, found.users, found.impressions) == (canary, len(of_canary), 3 * len(of_canary))
        assert (found.clicks, found.clickers, found.conversions, found.converters) == (
            2 * len(buyers),
            len(buyers),
            len(buyers),
            len(buyers),
        )
        assert found.click_rate is not None and found.click_rate.share == len(buyers) / len(of_canary)
        assert report.sample_ratio is not None and not report.sample_ratio.mismatch
        # The other replica has no canary, and the same counts.
        assert (elsewhere.running, elsewhere.comparisons) == (False, report.comparisons)
        assert [arm.clicks for arm in elsewhere.arms] == [stable.clicks, found.clicks]

        assert one.delete(f"/v1/users/{buyers[0]}").status_code == 202
        (after,) = read(two)["experiments"]
        assert (after["arms"][1]["users"], after["arms"][1]["clicks"]) == (found.users - 1, found.clicks - 2)
        assert after["arms"][1]["converters"] == found.converters - 1
        # Another percentage is another comparison; the one before stays.
        split(one, canary, 25.0)
        assert [(each["running"], each["percent"]) for each in read(one)["experiments"]] == [
            (True, 25.0),
            (False, 50.0),
        ]


def test_without_a_state_there_is_a_problem_and_no_table_of_zeros(root: Path, tmp_path: Path) -> None:
    with serving(root / "one", state_url=f"unix://{tmp_path / 'nothing.sock'}") as client:
        response = client.get("/v1/experiments")
        assert (response.status_code, response.json()["code"]) == (503, "state_unavailable")
