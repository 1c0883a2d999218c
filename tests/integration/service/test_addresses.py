"""Where the service is found: below a path prefix, behind proxies, at a Unix socket; what it says where it cannot."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urljoin

import httpx2 as httpx
import pytest

from tests import web
from tests.bundles import write_bundle
from tests.servers import Server, diffcdr, proxy, running_server
from tests.waiting import LIMIT_SECONDS, until

PREFIX = "/recs"
ONE = {"user_id": "u00042"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "current"
    write_bundle(path, console=True)
    return path


@pytest.fixture(scope="module")
def prefixed(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("prefixed") / "log"
    with running_server(bundle, log=log, DIFFCDR_ROOT_PATH=f"{PREFIX}/") as server:
        yield server


@contextmanager
def outer_proxy(folder: Path, port: int, inner: str) -> Iterator[str]:
    """Another nginx, that shows ``inner`` below the prefix, takes it off addresses, and says so."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert nginx is not None
    temporary = "".join(f"{what}_temp_path {folder};" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "outer.conf").write_text(
        f"daemon off; pid {folder}/outer.pid; error_log {folder}/outer.log; worker_processes 1; events {{}} "
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}; location {PREFIX}/ {{ "
        f"proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Prefix {PREFIX}; proxy_pass {inner}/; }} }} }}"
    )
    process = subprocess.Popen([nginx, "-p", str(folder), "-c", str(folder / "outer.conf")], stderr=subprocess.DEVNULL)
    try:
        with socket.socket() as probe:
            until(lambda: probe.connect_ex(("127.0.0.1", port)) == 0)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


def check_documents(client: httpx.Client) -> None:
    """Console, documentation and API are whole below the prefix, for whoever follows what they name."""
    for page in (f"{PREFIX}/docs", f"{PREFIX}/console/"):
        shown = client.get(page)
        assert shown.status_code == 200
        named = re.findall(r"""(?:href|src|url)\s*[=:]\s*["']([^"'#]+)""", shown.text)
        scripts = [urljoin(page, each) for each in named if each.endswith(".js")]
        for script in scripts:
            modules = re.findall(r"""from "(\./[^"]+)";""", client.get(script).text)
            named += [urljoin(script, each) for each in modules]
        assert len(named) > 3
        for each in named:
            assert client.get(urljoin(page, each)).status_code == 200, each
    assert client.get(f"{PREFIX}/openapi.json").json()["servers"] == [{"url": PREFIX}]
    assert client.get(f"{PREFIX}/", follow_redirects=True).url.path == f"{PREFIX}/console/"
    assert client.post(f"{PREFIX}/v1/recommendations", json=ONE).json()["strategy"] == "transfer"
    assert client.head(f"{PREFIX}/console/").status_code == 200


def test_below_a_prefix_that_the_proxy_passes_on(prefixed: Server) -> None:
    with web.client(base_url=prefixed.address) as client:
        check_documents(client)
        assert client.get(PREFIX, follow_redirects=True).url.path == f"{PREFIX}/console/"
        assert client.get(f"{PREFIX}/v1/users/a%2Fb/recommendations").status_code == 200
        # Probes and whoever comes past the proxy use no prefix.
        assert client.get("/livez").status_code == 200
        assert client.post("/v1/recommendations", json=ONE).status_code == 200
        assert client.get(f"{PREFIX}urring").status_code == 404
        assert client.get(f"{PREFIX}{PREFIX}/docs").status_code == 404
        assert 'route="/v1/recommendations"' in client.get("/metrics").text
    assert f"console at {PREFIX}/console, API at {PREFIX}/docs" in prefixed.log.read_text()


def test_below_a_prefix_that_a_proxy_takes_off_in_front_of_ours(bundle: Path, tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in (one, two)]
    with (
        running_server(bundle, log=tmp_path / "log") as server,
        proxy(inner, ports[0], [server.address]) as ours,
        outer_proxy(outer, ports[1], ours) as address,
        web.client(base_url=address) as client,
    ):
        check_documents(client)
        # What a caller makes up is no prefix, and leads to no other host.
        for made_up in ("//elsewhere.example", "https://elsewhere.example", "/a b", '/"><script>'):
            asked = web.get(f"{server.address}/", headers={"x-forwarded-prefix": made_up})
            assert asked.headers["location"] == "console/"
            document = web.get(f"{server.address}/openapi.json", headers={"x-forwarded-prefix": made_up})
            assert "servers" not in document.json()


def test_at_a_unix_socket_that_is_gone_with_the_service(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.sock"
    given = {"DIFFCDR_UDS": str(path), "DIFFCDR_UDS_MODE": "600", "DIFFCDR_WORKERS": "2"}
    with running_server(bundle, log=tmp_path / "log", **given) as server:
        assert server.address == f"unix:{path}"
        told = server.log.read_text()
        assert told.count(" ready") == 2
        assert told.index(" loading ") < told.index(" ready") < told.rindex(" ready") < told.index(" serving ")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with web.client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost") as client:
            assert client.post("/v1/recommendations", json=ONE).json()["strategy"] == "transfer"
            # As on loopback: without keys everything is open, and only under loopback's names.
            assert client.put("/v1/users/u00001/opt-out").status_code == 204
            assert client.get("/v1/items/popular", headers={"host": "elsewhere.example"}).status_code == 421
            second = diffcdr("serve", "--bundle", bundle, "--uds", path, check=False)
            assert (second.returncode, "another process listens" in second.stderr) == (2, True)
            assert client.get("/livez").status_code == 200
        assert server.stop() == 0
        assert not path.exists()


def test_nginx_asks_a_replica_at_a_unix_socket(bundle: Path, tmp_path: Path, free_port: int) -> None:
    # nginx's workers are somebody else, who may not look into the test's folder.
    with (
        TemporaryDirectory() as folder,
        running_server(bundle, log=tmp_path / "log", DIFFCDR_UDS=f"{folder}/s", DIFFCDR_UDS_MODE="666") as server,
        proxy(tmp_path, free_port, [server.address]) as address,
    ):
        Path(folder).chmod(0o755)
        assert web.post(f"{address}/v1/recommendations", json=ONE).json()["strategy"] == "transfer"
        assert server.stop() == 0
        assert list(Path(folder).iterdir()) == []


@pytest.mark.parametrize(
    ("options", "environment", "status", "said"),
    [
        (["--log-format", "json", "--bundle", "missing"], {}, 3, "missing"),
        (["--bundle", "missing"], {"DIFFCDR_LOG_FORMAT": "json"}, 3, "missing"),
        (["--bundle", "b", "--port", "70000"], {"DIFFCDR_LOG_FORMAT": "json"}, 2, "DIFFCDR_PORT (--port)"),
        (["--bundle", "b", "--root-path", "recs"], {"DIFFCDR_LOG_FORMAT": "json"}, 2, "DIFFCDR_ROOT_PATH"),
        (
            ["--bundle", "b"],
            {"DIFFCDR_LOG_FORMAT": "json", "DIFFCDR_STATE_URL": "mysql://u:hidden@x"},  # pragma: allowlist secret
            2,
            "STATE_URL",
        ),
        (["--bundle", "b", "--workers", "2"], {"DIFFCDR_LOG_FORMAT": "json"}, 3, "b"),
    ],
)
def test_what_ends_the_service_is_a_json_line_where_logs_are(
    tmp_path: Path, options: list[str], environment: dict[str, str], status: int, said: str
) -> None:
    started = subprocess.run(
        [str(Path(sys.executable).with_name("diffcdr")), "serve", *options],
        env={**os.environ, "DIFFCDR_UNKNOWN": "1", **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in (started.stdout + started.stderr).splitlines()]
    assert (started.returncode, lines[-1]["level"]) == (status, "critical")
    assert said in lines[-1]["message"]
    assert "hidden" not in started.stderr
