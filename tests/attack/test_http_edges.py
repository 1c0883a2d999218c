"""Addresses, names and variables as they really come."""

from __future__ import annotations

import json
import re
import resource
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

from tests import web
from tests.servers import Server, running_server
from tests.waiting import LIMIT_SECONDS

ONE, BATCH = "/v1/recommendations", "/v1/recommendations/batch"
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.mark.parametrize("user", ["caf%E9", "%ff", "a%zz", "a%"])
def test_an_id_that_is_no_text_is_refused_and_never_made_another(attacked: Server, user: str) -> None:
    with web.client(base_url=attacked.address) as client:
        for method, address in (("PUT", f"/v1/users/{user}/opt-out"), ("DELETE", f"/v1/users/{user}")):
            url = client.base_url.copy_with(raw_path=address.encode())
            refused = client.request(method, url)
            assert (refused.status_code, refused.json()["code"]) == (400, "bad_request")
        url = client.base_url.copy_with(raw_path=f"/v1/users/u00042/recommendations?exclude_items={user}".encode())
        assert client.get(url).status_code == 400


def test_ids_are_byte_for_byte(attacked: Server) -> None:
    """Opting out one spelling says nothing of another: case, normal form and blanks are part of an id."""
    with web.client(base_url=attacked.address) as client:
        assert client.put("/v1/users/caf%C3%A9/opt-out").status_code == 204
        reasons = {
            user: client.post(ONE, json={"user_id": user}).json()["fallback_reason"]
            for user in ("caf\u00e9", "cafe\u0301", "CAF\u00c9", "caf\u00e9 ")
        }
    assert list(reasons.values()) == ["opted_out", "unknown_user", "unknown_user", "unknown_user"]


def test_a_name_that_was_made_to_point_here_reads_nothing(attacked: Server) -> None:
    with web.client(base_url=attacked.address) as client:
        for address in ("/v1/users", "/v1/models", "/metrics", "/openapi.json"):
            refused = client.get(address, headers={"Host": "rebound.example:80"})
            assert (refused.status_code, refused.json()["code"]) == (421, "host_unknown"), address
            assert client.get(address, headers={"Host": "localhost:1"}).status_code == 200, address
        assert client.get("/livez", headers={"Host": "10.0.0.7"}).status_code == 200


def test_names_that_were_allowed_are_answered(attacked_bundle: Path, tmp_path: Path) -> None:
    settings = {"DIFFCDR_ALLOWED_HOSTS": "shop.example, other.example", "DIFFCDR_STATE_URL": f"sqlite:{tmp_path / 's'}"}
    with running_server(attacked_bundle, log=tmp_path / "log", **settings) as server:
        names = ("shop.example", "other.example:8000", "localhost", "third.example")
        found = [web.get(f"{server.address}/v1/models", headers={"Host": name}).status_code for name in names]
    assert found == [200, 200, 200, 421]


def test_head_is_answered_where_get_is(attacked: Server) -> None:
    with web.client(base_url=attacked.address) as client:
        for address in ("/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/v1/models", "/v1/items/popular"):
            head = client.head(address)
            assert (head.status_code, head.content) == (200, b""), address
        assert client.head(ONE).status_code == 405
        assert "HEAD" in client.post("/livez").headers["allow"]


def test_no_redirect_names_a_host(attacked: Server) -> None:
    with web.client(base_url=attacked.address) as client:
        assert client.post(f"{ONE}/", json={}).status_code == 404
        for address in ("/", "/console"):
            moved = client.get(address)
            assert (moved.status_code, moved.headers["location"]) == (307, "console/")


def test_the_documentation_works_below_any_prefix_and_in_no_frame(attacked: Server) -> None:
    with web.client(base_url=attacked.address) as client:
        page = client.get("/docs")
        named = re.findall(r"(?:href|src|url)[=:] ?[\"']([^\"']+)", page.text)
        assert len(named) == 4 and not any(name.startswith(("/", "http")) for name in named)
        assert [client.get(f"/{name}").status_code for name in named] == [200] * 4
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_variables_of_others_are_left_to_them(attacked_bundle: Path, tmp_path: Path) -> None:
    settings = {
        "WEB_CONCURRENCY": "auto",
        "FORWARDED_ALLOW_IPS": "no address",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "DIFFCDR_HOST": "tcp://10.96.0.12:80",
        "DIFFCDR_PORT_80_TCP_ADDR": "10.96.0.12",
        "DIFFCDR_SERVICE_HOST": "10.96.0.12",
        "DIFFCDR_TIMEOUT": "7",
        "DIFFCDR_LOG_FORMAT": "json",
        "DIFFCDR_STATE_URL": f"sqlite:{tmp_path / 'state'}",
    }
    log = tmp_path / "log"
    with running_server(attacked_bundle, log=log, **settings) as server:
        assert web.get(f"{server.address}/metrics").status_code == 200
        server.process.send_signal(signal.SIGHUP)
        assert server.process.wait(LIMIT_SECONDS) == 0
    assert not list(tmp_path.glob("*.db"))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    warned = [line["message"] for line in lines if line["level"] == "warning"]
    assert len(warned) == 1 and warned[0].startswith("DIFFCDR_TIMEOUT is not a setting")
    assert lines[-1]["message"] == "stopped"


def test_a_number_is_taken_as_its_text(attacked: Server) -> None:
    asked = b'{"user_id": %b, "exclude_items": [7]}'
    with web.client(base_url=attacked.address) as client:
        for number in (b"12", b"12.0", b'"12"'):
            found = client.post("/v1/embeddings", content=b'{"user_ids": [%b]}' % number).json()["embeddings"]
            assert [entry["user_id"] for entry in found] == ["12"]
            assert client.post(ONE, content=asked % number).status_code == 200
        assert client.put("/v1/users/9007199254740993/opt-out").status_code == 204
        told = client.post(ONE, content=asked % b"9007199254740993").json()
        assert told["fallback_reason"] == "opted_out"
        for number in (b"1.5", b"true", b"1e300"):
            assert client.post(ONE, content=asked % number).status_code == 422


def test_a_batch_that_finds_no_room_on_the_disk_is_asked_to_come_back(attacked: Server) -> None:
    """No file of the process may grow; a body of more than a megabyte is kept in one."""
    body = (b'{"user_id":"u00001","k":1}' + b" " * 400 + b"\n") * 4000
    with web.client(base_url=attacked.address) as client:
        before = resource.prlimit(attacked.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            refused = client.post(BATCH, content=body, headers=NDJSON)
        finally:
            resource.prlimit(attacked.process.pid, resource.RLIMIT_FSIZE, before)
        # What was answered before the disk was full is there; the last line says why the others are not.
        last = json.loads(refused.text.splitlines()[-1])
        told = last if refused.status_code == 503 else last["error"]
        assert (told["code"], told["status"]) == ("overloaded", 503)
        assert "internal_error" not in refused.text
        assert client.post(BATCH, content=body, headers=NDJSON).text.count("\n") == 4000


def test_where_the_folder_of_temporary_files_was_cleaned_away_another_is_found(
    attacked_bundle: Path, tmp_path: Path
) -> None:
    body = (b'{"user_id":"u00001","k":1}' + b" " * 400 + b"\n") * 4000
    own = tmp_path / "temporary"
    own.mkdir()
    state = f"sqlite:{tmp_path / 'state'}"
    with running_server(attacked_bundle, log=tmp_path / "log", TMPDIR=str(own), DIFFCDR_STATE_URL=state) as server:
        ask = partial(web.post, f"{server.address}{BATCH}", content=body, headers=NDJSON)
        assert ask().status_code == 200  # the folder is chosen
        shutil.rmtree(own)
        assert ask().status_code in (200, 503)
        again = ask()
        assert (again.status_code, again.text.count("\n")) == (200, 4000)
        assert web.get(f"{server.address}/readyz").status_code == 200
