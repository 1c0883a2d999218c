"""Dockerfile and docker-compose.yml, read as the tools read them, and held against the code they run."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from service.process.stop_limit import PARENT_SECONDS, stop_seconds
from service.settings import PREFIX, Settings
from training.commands.train import train

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@dataclass(frozen=True)
class Stage:
    """One ``FROM base AS name`` and its instructions."""

    name: str
    base: str
    instructions: list[tuple[str, str]]

    def last(self, keyword: str) -> str:
        return next(value for key, value in reversed(self.instructions) if key == keyword)


def stages() -> dict[str, Stage]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, Stage] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        keyword, _, value = line.partition(" ")
        if keyword == "FROM":
            parts = re.fullmatch(r"(\S+) AS (\S+)", value)
            assert parts is not None, line
            base, name = parts.groups()
            found[name] = Stage(name, base, [])
        elif found:
            list(found.values())[-1].instructions.append((keyword, value.strip()))
    return found


def healthcheck() -> list[str]:
    command: list[str] = json.loads(stages()["serve"].last("HEALTHCHECK").partition("CMD ")[2])
    return command


def environment(stage: Stage) -> dict[str, str]:
    pairs = " ".join(value for key, value in stage.instructions if key == "ENV").split()
    return dict(pair.split("=", 1) for pair in pairs)


def test_the_default_image_is_the_service_and_has_no_torch() -> None:
    by_name = stages()
    assert list(by_name)[-1] == "serve"
    serve = by_name["serve"]
    assert serve.base == by_name["train"].base == "runtime"
    assert "build-serve" in serve.last("COPY")
    assert "build-train" not in str(serve.instructions)
    assert '".[${EXTRA},client]"' in str(by_name["build-serve"].instructions)
    assert ("ARG", "EXTRA=serve") in by_name["build-serve"].instructions


def test_the_base_can_be_pinned_by_digest() -> None:
    assert re.search(r"^ARG BASE=python:3\.11-slim$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    bases = {stage.base for stage in stages().values()}
    assert bases <= {"${BASE}", *stages()}


def test_images_run_as_a_fixed_user_that_is_not_root() -> None:
    user, _, group = stages()["runtime"].last("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    for name in ("serve", "train"):
        assert all(key != "USER" for key, _ in stages()[name].instructions)


def test_entry_points_are_in_exec_form() -> None:
    assert json.loads(stages()["runtime"].last("ENTRYPOINT")) == ["diffcdr"]
    for name in ("serve", "train"):
        assert json.loads(stages()[name].last("CMD"))[0] == name


def test_dependencies_are_a_layer_before_the_code() -> None:
    base = stages()["build-base"]
    assert base.last("COPY").split()[:2] == ["pyproject.toml", "constraints.txt"]
    for name in ("build-serve", "build-train"):
        keys = [key for key, _ in stages()[name].instructions if key in ("RUN", "COPY")]
        assert keys[0] == "RUN"
        assert keys[-1] == "RUN"
        first = next(value for key, value in stages()[name].instructions if key == "RUN")
        assert "--constraint constraints.txt" in first


def test_what_is_copied_is_let_through_to_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    for stage in stages().values():
        for key, value in stage.instructions:
            if key == "COPY" and "--from" not in value:
                sources = value.split()[:-1]
                assert set(sources) <= allowed
                assert all((ROOT / source).exists() for source in sources)


def test_the_image_sets_only_settings_there_are() -> None:
    names = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    given = {name for name in environment(stages()["serve"]) if name.startswith(PREFIX)}
    given |= {name for name in SERVICES["service"]["environment"] if name.startswith(PREFIX)}
    assert given
    assert given <= names


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_believes_readyz(status: int, healthy: bool) -> None:
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert healthcheck()[0] == "python"
        done = subprocess.run(
            [sys.executable, *healthcheck()[1:]],
            env={**os.environ, "DIFFCDR_PORT": str(server.server_port)},
            capture_output=True,
            check=False,
        )
    assert asked == ["/readyz"]
    assert (done.returncode == 0) is healthy


def test_compose_builds_stages_that_exist() -> None:
    for name in ("service", "train"):
        assert SERVICES[name]["build"]["target"] in stages()
        assert (ROOT / SERVICES[name]["build"]["context"]).resolve() == ROOT


def test_volumes_are_declared_and_the_service_only_reads() -> None:
    mounts = {name: [volume.split(":") for volume in service["volumes"]] for name, service in SERVICES.items()}
    named = {source for rows in mounts.values() for source, *_ in rows if re.fullmatch(r"[a-z]+", source)}
    assert named == COMPOSE["volumes"].keys()
    assert ["bundles", "/bundles", "ro"] in mounts["service"]
    assert ["bundles", "/bundles"] in mounts["train"]
    assert SERVICES["service"]["read_only"] is SERVICES["train"]["read_only"] is True


def test_training_is_a_one_shot_job_and_the_service_waits_for_its_bundle() -> None:
    assert SERVICES["train"]["profiles"] == ["train"]
    assert SERVICES["train"]["restart"] == "no"
    assert SERVICES["service"]["restart"] == "unless-stopped"
    published = next(text for text in SERVICES["train"]["command"] if text.startswith("--bundle=")).partition("=")[2]
    published = published.replace("${BUNDLE:-current}", "current")
    assert published == SERVICES["service"]["environment"]["DIFFCDR_BUNDLE"]
    assert published == environment(stages()["serve"])["DIFFCDR_BUNDLE"]


def test_the_training_job_uses_options_the_command_has() -> None:
    known = set()
    for parameter in inspect.signature(train, eval_str=True).parameters.values():
        options = [option for info in get_args(parameter.annotation)[1:] for option in info.param_decls or ()]
        known |= set(options) or {f"--{parameter.name.replace('_', '-')}"}
    given = {text.partition("=")[0] for text in SERVICES["train"]["command"] if text.startswith("--")}
    assert {"--source", "--target", "--bundle"} <= given <= known


def test_the_grace_period_covers_the_service_s_drain() -> None:
    grace = int(SERVICES["service"]["stop_grace_period"].removesuffix("s"))
    assert grace > stop_seconds(Settings(bundle=Path("bundle"))) + 2 * PARENT_SECONDS


def test_what_the_service_depends_on_has_a_health_check() -> None:
    for name, condition in SERVICES["service"]["depends_on"].items():
        assert condition["condition"] == "service_healthy"
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_the_scale_profile_sets_what_the_compose_file_asks_for() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    lines = (ROOT / "deploy" / "scale.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert given.pop("COMPOSE_PROFILES") == "scale"
    assert given.keys() <= set(re.findall(r"\$\{([A-Z_]+):-", text))
    assert set(given["EXTRA"].split(",")) <= {"serve", "ann"}
    url = given["DIFFCDR_VECTORS_URL"]
    settings = Settings(bundle=Path("x"), vectors="redis", vectors_url=url)
    assert (settings.vectors, settings.watch_seconds) == (
        given["DIFFCDR_VECTORS"],
        float(given["DIFFCDR_WATCH_SECONDS"]),
    )
    assert SERVICES["vectors"]["profiles"] == ["scale"]
    assert SERVICES["service"]["depends_on"]["vectors"]["required"] is False
    assert f"--redis={url}" in SERVICES["push"]["command"]
    assert url.rpartition("@")[2].partition(":")[0] in SERVICES


@pytest.mark.parametrize("job", ["push", "rollout"])
def test_jobs_run_once_from_the_service_s_image_with_options_the_command_has(job: str) -> None:
    service = SERVICES[job]
    assert service["profiles"] == ["jobs"] and service["restart"] == "no" and service["read_only"] is True
    assert service["image"] == SERVICES["service"]["image"]
    name, *options = service["command"]
    assert name == job
    shown = subprocess.run(
        [Path(sys.executable).with_name("diffcdr"), job, "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert options and all(option.partition("=")[0] in shown for option in options)
    mounted = [volume.rpartition(":/")[2].partition(":")[0] for volume in service["volumes"]]
    assert any(f"/{path}" in option for option in options for path in mounted)
