"""The program: one line for every mistake, its exit code, nothing imported that is not needed."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from diffcdr import __version__, cli
from diffcdr.bundle.reader import read_manifest
from diffcdr.commands.inspect import render, shortfalls
from diffcdr.errors import BundleError, DeviceError, DiffCDRError, InputError, MissingExtraError
from tests.bundles import write_bundle

ROOT = Path(__file__).resolve().parents[3]


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(args))
    return int(stop.value.code or 0)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_names_every_command_and_imports_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    for name, summary in cli.SUMMARIES.items():
        assert name in shown
        assert summary in shown
    heavy = ["torch", "numpy", "polars", "fastapi", "onnxruntime", "training", "service", "pydantic"]
    done = run_python(
        "import sys\nfrom diffcdr.cli import main\ntry: main(['--help'])\n"
        f"except SystemExit: print('loaded:', [m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    assert done.stderr.splitlines()[-1] == "loaded: []"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"diffcdr {__version__}\n"


def test_an_unknown_command_gets_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("scroe") == 2
    assert "'score'" in capsys.readouterr().err


def test_score_and_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "out.parquet"
    bundle_id = write_bundle(bundle)
    (tmp_path / "users.txt").write_text("u00001\nnobody\nnobody\n")
    common = ["--bundle", str(bundle), "--out", str(out)]
    assert run("score", *common, "--users", str(tmp_path / "users.txt"), "--k", "3") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "1 empty or repeated user ids left out" in said.err
    assert "wrote 6 rows for 2 users (1 popular, 1 warm)" in said.err
    assert pl.read_parquet(out)["user_id"].to_list() == ["u00001"] * 3 + ["nobody"] * 3
    assert run("score", *common, "--users", "all", "--lists", "--include-seen", "--threads", "2") == 0
    assert pl.read_parquet(out).height == 50
    monkeypatch.setenv("COLUMNS", "80")
    assert run("inspect", str(bundle)) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert f"Bundle {bundle_id}\n" in shown
    assert "verified: all" in shown
    assert re.search(r"^ diffcdr +.*0\.9100", shown, re.M)
    assert "warning" not in shown and "offset.npy" not in shown
    assert run("inspect", str(bundle), "--all") == 0
    everything = capsys.readouterr().out
    assert max(map(len, everything.splitlines())) <= 80
    assert "0.9100 ± 0.0120 *" in everything and "offset.npy" in everything
    assert run("inspect", str(bundle), "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["id"], answer["warnings"]) == (bundle_id, [])
    assert answer["manifest"]["model"] == "diffcdr"


def test_inspect_verifies_unless_told_not_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "bundle")
    file = tmp_path / "bundle" / "transfer" / "offset.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert run("inspect", str(tmp_path / "bundle")) == BundleError.exit_code
    captured = capsys.readouterr()
    assert captured.err.startswith("error: bundle file")
    assert "offset.npy is damaged" in captured.err
    assert len(captured.err.splitlines()) == 1
    assert run("inspect", str(tmp_path / "bundle"), "--no-verify") == 0
    assert "verified" not in capsys.readouterr().out


def test_a_model_worse_than_a_plain_baseline_is_called_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "bundle")
    manifest, _ = read_manifest(tmp_path / "bundle")
    figures = {"diffcdr": {"rmse": 1.27, "ndcg@20": 0.008}, "bias": {"rmse": 0.93}, "popular": {"ndcg@20": 0.06}}
    worse = manifest.model_copy(update={"metrics": {"test": figures}})
    assert [(found.metric, found.baseline) for found in shortfalls(worse)] == [("rmse", "bias"), ("ndcg@20", "popular")]
    assert shortfalls(manifest) == []
    assert shortfalls(worse.model_copy(update={"model": "popular"})) == []


def test_errors_count_downwards_clipped_or_not_and_nobody_loses_in_what_only_describes(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    manifest, bundle_id = read_manifest(tmp_path / "bundle")
    figures = {
        "diffcdr": {"rmse_clipped": 0.9, "coverage@20": 0.1, "gini@20": 0.9},
        "mean": {"rmse_clipped": 1.1, "coverage@20": 0.8, "gini@20": 0.2},
    }
    shown = manifest.model_copy(update={"metrics": {"test": figures}})
    assert shortfalls(shown) == []
    output = io.StringIO()
    render(shown, bundle_id, console=Console(file=output, width=120), everything=True)
    text = output.getvalue()
    assert "0.9000 *" in text and "1.1000 *" not in text
    described = text[text.index("Lists of test users beyond accuracy") :]
    assert "coverage@20" in described and "0.8000 *" not in described


def test_inspect_says_how_large_the_sparse_term_is(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", objective="ranking", neighbours=True)
    manifest, bundle_id = read_manifest(tmp_path / "bundle")
    output = io.StringIO()
    render(manifest, bundle_id, console=Console(file=output, width=160), everything=True)
    entries, ratings = (len(np.load(tmp_path / f"bundle/neighbours/{name}.npy")) for name in ("items", "user_items"))
    assert f"{entries:,} of source items, with {ratings:,} source ratings, " in output.getvalue()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["inspect", "nowhere"], 3, "is not a bundle"),
        (["score", "--bundle", "nowhere", "--users", "all", "--out", "x.parquet"], 3, "is not a bundle"),
        (["score", "--bundle", "nowhere", "--users", "all", "--out", "x.parquet", "--k", "0"], 2, "--k"),
        (["score", "--bundle", "nowhere", "--users", "all", "--out", "x.parquet", "--device", "tpu"], 2, "--device"),
        (["score", "--users", "all", "--out", "x.parquet"], 2, "--bundle"),
    ],
)
def test_mistakes(args: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*args) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("option", ["--users", "--opted-out"])
def test_lists_do_not_replace_the_file_that_users_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    write_bundle(tmp_path / "bundle")
    users = tmp_path / "users.txt"
    users.write_text("u00001\n")
    asked = {"--users": "all", option: str(users), "--out": f"{tmp_path}/bundle/../users.txt"}
    words = [word for pair in asked.items() for word in pair]
    assert run("score", "--bundle", str(tmp_path / "bundle"), *words) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert users.read_text() == "u00001\n"


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "json.tool", None)
    entry = EntryPoint("train", "json.tool:main [train]", cli.COMMAND_GROUP)
    with pytest.raises(MissingExtraError, match=r"diffcdr train needs .* pip install 'diffcdr\[train\]'"):
        cli.load_command(entry)


def test_a_defect_of_ours_is_not_called_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match="training"):
        cli.load_command(EntryPoint("train", "training.no_such_module:train [train]", cli.COMMAND_GROUP))


def test_interrupted_and_closed_pipes_are_quiet(tmp_path: Path) -> None:
    code = "import diffcdr.commands.inspect, sys\nfrom diffcdr.cli import main\ndef stop(path): raise {}\n"
    code += "diffcdr.commands.inspect.read_manifest = stop\nmain(['inspect', '.'])"
    interrupted = run_python(code.format("KeyboardInterrupt"))
    assert (interrupted.returncode, interrupted.stdout, interrupted.stderr) == (130, "", "")
    write_bundle(tmp_path / "bundle")
    command = f"{sys.executable} -c 'from diffcdr.cli import main; main()' inspect {tmp_path}/bundle | head -1"
    piped = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert piped.stdout.startswith("Bundle")
    assert piped.stderr == ""


def test_every_error_has_its_own_exit_code() -> None:
    codes = [kind.exit_code for kind in (DiffCDRError, InputError, BundleError, DeviceError, MissingExtraError)]
    assert codes == sorted(set(codes)) == [1, 2, 3, 4, 5]
