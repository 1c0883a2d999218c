"""Recommendation ids: what they hold, that nobody else can make one, and that no user can be read from them."""

from __future__ import annotations

import string
from base64 import urlsafe_b64decode
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffcdr.errors import InputError
from service.feedback.arms import Arm
from service.feedback.keys import Once
from service.feedback.recommendation_ids import (
    ID_CHARACTERS,
    POPULAR_SECONDS,
    NotOurs,
    RecommendationIds,
    open_ids,
)
from service.settings import Settings
from tests.unit.service.feedback.lineups import CANARY, STABLE, lineup, model

KEY, OTHER = b"0123456789abcdef", b"fedcba9876543210"  # pragma: allowlist secret
NOW = 1_790_000_000.125
USERS = st.text(min_size=1, max_size=20)


def ids(*keys: bytes) -> RecommendationIds:
    return RecommendationIds(keys or (KEY,), clock=lambda: NOW)


@given(user=USERS, percent=st.floats(0.1, 99.9), salt=st.text(max_size=5))
def test_an_id_says_bundle_arm_and_time_and_is_short(user: str, percent: float, salt: str) -> None:
    plan = lineup(percent=percent, salt=salt)
    chosen = plan.choose(None, user)
    text = ids().issue(plan, chosen, named=False, user_id=user)
    found = ids().read(text, user_id=user)
    assert found.arm == (Arm.CANARY if chosen.id == CANARY else Arm.STABLE)
    assert (found.bundle, found.at) == (chosen.id[:16], NOW)
    assert found.percent == pytest.approx(percent, rel=1e-6)
    assert len(text) == ID_CHARACTERS <= 120 and set(text) <= set(string.ascii_letters + string.digits + "-_")
    # Whoever else asks in this comparison is in it too; another split is another comparison.
    assert ids().read(ids().issue(plan, plan.stable, named=False, user_id="b"), user_id="b").experiment
    other = lineup(percent=percent, salt=salt + "x")
    assert ids().read(ids().issue(other, chosen, named=False, user_id=user), user_id=user).experiment != (
        found.experiment
    )


def test_only_users_whom_chance_assigned_belong_to_an_arm() -> None:
    plan, given_out = lineup(), ids()
    for named, user, expected in ((True, "a", Arm.NAMED), (False, None, Arm.UNASSIGNED)):
        text = given_out.issue(plan, plan.models[CANARY], named=named, user_id=user)
        assert given_out.read(text, user_id="a").arm == expected
    alone = lineup(canary=None)
    found = given_out.read(given_out.issue(alone, alone.stable, named=False, user_id="a"), user_id="a")
    assert (found.arm, found.experiment) == (Arm.UNASSIGNED, "")


@given(place=st.integers(0, ID_CHARACTERS - 1), letter=st.sampled_from(string.ascii_letters + string.digits + "-_é "))
def test_a_changed_id_is_refused(place: int, letter: str) -> None:
    plan = lineup()
    text = ids().issue(plan, plan.stable, named=False, user_id="ann")
    changed = text[:place] + letter + text[place + 1 :]
    for wrong in (changed, text[:-1], text + "A", f"{text}=", f" {text}", ""):
        if wrong != text:
            with pytest.raises(NotOurs):
                ids().read(wrong, user_id="ann")


@given(user=USERS, other=USERS)
def test_an_id_is_of_one_user_and_does_not_tell_whom(user: str, other: str) -> None:
    plan = lineup()
    text = ids().issue(plan, plan.stable, named=False, user_id=user)
    if other != user:
        with pytest.raises(NotOurs, match="another user"):
            ids().read(text, user_id=other)
    # Without the key nobody can try users out: under another key the same user has another hash.
    under_another = ids(OTHER).issue(plan, plan.stable, named=False, user_id=user)
    assert urlsafe_b64decode(text)[25:33] != urlsafe_b64decode(under_another)[25:33]
    nobody = ids().issue(plan, plan.stable, named=False, user_id=None)
    assert not any(urlsafe_b64decode(nobody)[25:33])


def test_older_keys_are_believed_and_unknown_ones_are_not() -> None:
    plan = lineup()
    old = ids(KEY).issue(plan, plan.stable, named=False, user_id="ann")
    assert ids(OTHER, KEY).read(old, user_id="ann").at == NOW
    assert ids(OTHER, KEY).issue(plan, plan.stable, named=False, user_id="ann") != old
    with pytest.raises(NotOurs):
        ids(OTHER).read(old, user_id="ann")


def test_the_popular_list_keeps_its_id_for_an_hour() -> None:
    plan, now = lineup(), [NOW]
    given_out = RecommendationIds([KEY], clock=lambda: now[0])
    first = given_out.issue_popular(plan, plan.stable)
    now[0] = (NOW // POPULAR_SECONDS + 1) * POPULAR_SECONDS - 1
    assert given_out.issue_popular(plan, plan.stable) == first
    now[0] += 1
    assert given_out.issue_popular(plan, plan.stable) != first
    assert given_out.issue_popular(replace(plan, stable=model(CANARY)), model(CANARY)) != first
    assert given_out.read(first, user_id="anyone").bundle == STABLE[:16]


def test_workers_share_a_drawn_key_and_one_of_them_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings, plan = Settings.read(bundle=tmp_path), lineup()
    one, two = open_ids(settings, tmp_path), open_ids(settings, tmp_path)
    text = one.issue(plan, plan.stable, named=False, user_id="ann")
    assert not caplog.records, "ids alone are nothing to warn of"
    for _ in range(2):
        assert two.read(text, user_id="ann") == one.read(text, user_id="ann")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "events name recommendation ids, but DIFFCDR_FEEDBACK_KEY is not set"
    ]
    with pytest.raises(NotOurs):
        open_ids(settings, None).read(text, user_id="ann")
    assert [Once(None).first(), Once(tmp_path).first()] == [True, False]


def test_a_key_from_the_settings_is_everybody_s_and_has_a_length(tmp_path: Path) -> None:
    plan, settings = lineup(), Settings.read(bundle=tmp_path, feedback_key=f"{OTHER.decode()}, {KEY.decode()}")
    text = ids(OTHER).issue(plan, plan.stable, named=False, user_id="ann")
    for folder in (None, tmp_path):
        assert open_ids(settings, folder).read(text, user_id="ann").at == NOW
    with pytest.raises(InputError, match="openssl rand") as refused:
        open_ids(Settings.read(bundle=tmp_path, feedback_key="short-secret"), None)
    assert "short-secret" not in str(refused.value)
