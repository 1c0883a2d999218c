"""What a command looks at before it runs: whose packages, which versions, one ONNX Runtime, which Python."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from diffcdr import __main__ as program
from diffcdr import installation
from diffcdr.errors import InputError

ROOT = Path(__file__).resolve().parents[3]


def install(site: Path, distribution: str, version: str, package: str) -> None:
    """What pip leaves behind in ``site``, less what nobody here reads."""
    (site / package).mkdir(exist_ok=True)
    (site / package / "__init__.py").write_text(f"__version__ = {version!r}\n")
    info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{package}/__init__.py,,\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where Python looks first; our packages and ONNX Runtime go by names that nobody has imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(installation, "ONNX_RUNTIME", "made_up_runtime")
    return tmp_path


def test_this_installation_is_in_order() -> None:
    installation.check_installation("training.commands.train", ["train"])
    installation.check_installation("service.commands", ["serve"])
    assert set(installation.library_versions(["numpy", "no_such_module"])) == {"numpy"}


@pytest.mark.parametrize("name", ["__init__.py", "notes.txt"])
def test_a_package_or_folder_of_the_same_name_that_stands_in_the_way_is_named(site: Path, name: str) -> None:
    (site / "made_up").mkdir()
    (site / "made_up" / name).write_text("")
    with pytest.raises(InputError, match=r"another package 'made_up', .*, before DiffCDR's own, .* another folder"):
        installation.check_own("made_up")


def test_a_folder_beside_the_user_is_refused_before_anything_of_it_runs(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "__init__.py").write_text("open('ran', 'w').close()\n")
    command = [sys.executable, "-m", "diffcdr", "serve", "--bundle", "x"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == InputError.exit_code
    assert done.stderr.startswith(f"error: Python finds another package 'service', {tmp_path}/service")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "ran").exists()


def test_files_of_another_distribution_among_ours_are_named(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "HOME", site)
    install(site, "diffcdr", "0.1.0", "made_up")
    installation.check_own("made_up")
    install(site, "gym-exercises", "3.0", "made_up")
    with pytest.raises(InputError, match="^gym-exercises was installed over the package 'made_up' of DiffCDR"):
        installation.check_own("made_up")


def test_two_distributions_of_onnx_runtime_are_one_too_many(site: Path) -> None:
    install(site, "onnxruntime-gpu", "1.31.1", "made_up_runtime")
    installation.check_one_onnx_runtime()
    install(site, "onnxruntime", "1.32.0", "made_up_runtime")
    both = "onnxruntime and onnxruntime-gpu"
    with pytest.raises(InputError, match=rf"^{both} are installed over each other.*extra serve or serve-gpu"):
        installation.check_one_onnx_runtime()


def test_an_onnx_runtime_whose_files_went_with_another_is_to_be_installed_again(site: Path) -> None:
    install(site, "onnxruntime-gpu", "1.31.1", "made_up_runtime")
    (site / "made_up_runtime" / "__init__.py").unlink()
    with pytest.raises(InputError, match="--force-reinstall --no-deps onnxruntime-gpu"):
        installation.check_one_onnx_runtime()


def test_versions_go_by_the_distribution_that_brings_the_module(site: Path) -> None:
    install(site, "onnxruntime-gpu", "1.31.1", "made_up_runtime")
    (site / "made_up_sources").mkdir()
    (site / "made_up_sources" / "__init__.py").write_text("__version__ = '7'\n")
    found = installation.library_versions(["made_up_runtime", "made_up_sources", "no_such_module"])
    assert found == {"onnxruntime-gpu": "1.31.1", "made_up_sources": "7"}


@pytest.mark.parametrize(
    ("requirement", "extras", "advice"),
    [
        ("numpy>=99", [], "numpy>=99"),
        ("numpy<1", [], "numpy<1"),
        ('rich>=99; extra == "serve"', ["serve"], "rich>=99"),
        ('rich>=99; extra == "serve"', ["train"], None),
        ('onnxruntime>=99; extra == "serve"', ["train"], "onnxruntime>=99"),
        ('rich>=99; python_version < "3"', [], None),
        ("no-such-distribution>=1", [], None),
        ("numpy>=1", [], None),
    ],
)
def test_a_library_of_the_wrong_version_is_named_with_the_remedy(
    requirement: str, extras: list[str], advice: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: [requirement])
    if advice is None:
        installation.check_versions(extras)
        return
    name = advice.rstrip("<>=0123456789")
    with pytest.raises(InputError, match=rf"does not work with {name} {metadata.version(name)}; .*'{advice}'$"):
        installation.check_versions(extras)


def test_a_library_under_another_name_is_held_to_the_same_version(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "made-up-lts", "1.0", "made_up")
    monkeypatch.setattr(metadata, "requires", lambda _: ["made-up>=2"])
    with pytest.raises(InputError, match=r"does not work with made-up 1\.0"):
        installation.check_versions([])


def test_a_python_that_is_too_old_is_told_so_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))
    with pytest.raises(SystemExit) as stop:
        program.main()
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: diffcdr needs Python 3.11 or newer, and this is 3.9;")
    assert said.count("\n") == 1


def test_the_oldest_python_is_the_one_of_the_metadata_and_older_ones_can_read_that() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = ".".join(map(str, program.OLDEST_PYTHON))
    assert SpecifierSet(project["requires-python"]) == SpecifierSet(f">={oldest}")
    assert f"Programming Language :: Python :: {oldest}" in project["classifiers"]
    for name in ("__init__.py", "__main__.py"):
        ast.parse((ROOT / "diffcdr" / name).read_text(), feature_version=(3, 6))
