"""A volume that is mounted where the bundle should be."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from diffcdr.errors import InputError
from service.settings import Settings
from service.state.opening import check_state
from tests.bundles import write_bundle


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that the system calls a mount point; mounting takes rights that tests may not have."""
    place = tmp_path / "volume"
    place.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == place)
    return place


def test_it_is_refused_before_any_work_with_a_place_in_it(mounted: Path) -> None:
    with pytest.raises(InputError, match=f"--bundle {mounted}/current"):
        write_bundle(mounted)
    assert list(mounted.parent.iterdir()) == [mounted]
    write_bundle(mounted / "current")


def test_serving_one_says_that_state_stays_outside(mounted: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_state(Settings(bundle=mounted))
        check_state(Settings(bundle=mounted / "current"))
        check_state(Settings(bundle=mounted, state_url=f"sqlite:{mounted}/state.sqlite"))
    (warning,) = caplog.messages
    assert "DIFFCDR_STATE_URL" in warning
