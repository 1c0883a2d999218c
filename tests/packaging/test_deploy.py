"""deploy/: what it names exists in the code, and what reads it in production would take it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.metrics import Metrics
from service.process.stop_limit import PARENT_SECONDS, stop_seconds
from service.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
ALERTS: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "diffcdr.json").read_text())
SETTINGS = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
KUBERNETES_VERSION = "1.30"


def manifests() -> dict[str, dict[str, Any]]:
    folder = DEPLOY / "kubernetes"
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in folder.iterdir()} == {*listed, "kustomization.yaml"}
    found = [yaml.safe_load((folder / name).read_text()) for name in listed]
    return {manifest["kind"]: manifest for manifest in found}


MANIFESTS = manifests()
POD: dict[str, Any] = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]


def samples() -> dict[str, set[str]]:
    """Name of every sample that /metrics can show -> its labels."""
    found: dict[str, set[str]] = {}
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
    metrics = Metrics()
    for collector in metrics.registry._collector_to_names:
        # Nothing was counted yet, so no sample tells of its labels; the collector itself knows them.
        labels = set(vars(collector)["_labelnames"])
        for family in collector.collect():
            for ending in endings[family.type]:
                found[family.name + ending] = labels | ({"le"} if ending == "_bucket" else set())
    metrics.bundles.show([("id", "diffcdr", "stable", "cpu", "NumPy", "2", "cpu")])
    found |= {sample.name: set(sample.labels) for family in metrics.bundles.collect() for sample in family.samples}
    return found


def expressions() -> list[str]:
    return [rule["expr"] for rule in ALERTS] + [
        target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
    ]


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_asked_for_exists(expression: str) -> None:
    known = samples() | {"up": {"job", "instance"}}
    asked = re.findall(r"\b(diffcdr_[a-z_]+|up)\b(?:\{([^}]*)\})?", expression)
    assert asked
    for name, matchers in asked:
        assert name in known
        assert set(re.findall(r"([a-z_]+)(?:=~|!~|!=|=)", matchers)) <= known[name]
    grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}
    assert grouped <= {"instance"}.union(*(known[name] for name, _ in asked))


def test_every_alert_says_what_it_saw_and_the_runbook_what_to_do() -> None:
    runbook = (ROOT / "docs" / "how-to" / "operations.md").read_text()
    assert {rule["alert"] for rule in ALERTS} == set(re.findall(r"^\| `(DiffCDR\w+)` \|", runbook, flags=re.MULTILINE))
    for rule in ALERTS:
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_prometheus_itself_takes_the_configuration() -> None:
    promtool = shutil.which("promtool")
    configuration = DEPLOY / "prometheus" / "prometheus.yml"
    content = yaml.safe_load(configuration.read_text())
    assert content["rule_files"] == ["alerts.yml"]
    (job,) = content["scrape_configs"]
    assert job["dns_sd_configs"][0]["names"] == ["service"] <= list(COMPOSE["services"])
    if promtool is not None:
        for command in (
            ["check", "config", configuration],
            ["test", "rules", configuration.with_name("alerts_test.yml")],
        ):
            done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def test_what_alerts_count_the_first_of_is_there_before_it() -> None:
    shown = Metrics().render().decode()
    matched = {
        (name, label, value)
        for rule in ALERTS
        for name, label, value in re.findall(r'(diffcdr_\w+_total)\{(\w+)="(\w+)"\}', rule["expr"])
    }
    assert {name for name, _, _ in matched} == {"diffcdr_dropped_rows_total", "diffcdr_bundle_loads_total"}
    for name, label, value in matched:
        assert f'{name}{{{label}="{value}"}} 0.0' in shown


def test_the_dashboard_asks_the_provisioned_source_and_its_panels_lie_apart() -> None:
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/dashboards.yml").read_text())["providers"][0]
    mounts = [volume.split(":") for volume in COMPOSE["services"]["grafana"]["volumes"]]
    assert ["./deploy/grafana/diffcdr.json", f"{provider['options']['path']}/diffcdr.json", "ro"] in mounts


def test_compose_serves_two_replicas_that_only_the_proxy_shows() -> None:
    services = COMPOSE["services"]
    assert services["service"]["deploy"]["replicas"] == "${REPLICAS:-2}"
    assert "ports" not in services["service"]
    assert services["proxy"]["depends_on"]["service"]["condition"] == "service_healthy"
    (upstream,) = re.findall(r"^server (\w+):(\d+)", (DEPLOY / "nginx/upstream.conf").read_text(), flags=re.MULTILINE)
    assert upstream == ("service", "8000")
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert all(port.startswith(("127.0.0.1:", "${BIND:-127.0.0.1}:")) for port in published)
    started = [name for name, service in services.items() if "profiles" not in service]
    assert started == ["service", "proxy", "redis"]
    for name, service in services.items():
        for volume in service["volumes"]:
            if volume.startswith("./"):
                assert (ROOT / volume.split(":")[0]).exists(), f"{name} mounts {volume}"


@pytest.mark.parametrize("kind", MANIFESTS)
def test_kubernetes_knows_every_field(kind: str) -> None:
    kubernetes_validate.validate(MANIFESTS[kind], KUBERNETES_VERSION, strict=True)


def test_a_field_that_is_not_there_would_be_found() -> None:
    manifest = json.loads(json.dumps(MANIFESTS["Deployment"]).replace("readOnlyRootFilesystem", "readOnlyRoot"))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)


def test_the_gpu_overlay_gives_the_service_one_gpu_and_says_so() -> None:
    folder = DEPLOY / "kubernetes-gpu"
    overlay = yaml.safe_load((folder / "kustomization.yaml").read_text())
    gpu, device = (yaml.safe_load((folder / patch["path"]).read_text()) for patch in overlay["patches"])
    assert (folder / overlay["resources"][0]).resolve() == DEPLOY / "kubernetes"
    for patch in (gpu, device):
        assert patch["metadata"]["name"] == MANIFESTS[patch["kind"]]["metadata"]["name"]
    (container,) = gpu["spec"]["template"]["spec"]["containers"]
    assert container["name"] == CONTAINER["name"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert set(device["data"]) <= set(MANIFESTS["ConfigMap"]["data"])
    assert device["data"] == {"DIFFCDR_DEVICE": "cuda"}


def test_compose_gives_the_service_one_gpu() -> None:
    services = yaml.safe_load((DEPLOY / "gpu.yml").read_text())["services"]
    (name,), (gpu,) = services, services.values()
    assert set(gpu) <= set(COMPOSE["services"][name])
    assert gpu["build"]["args"] == {"EXTRA": "serve-gpu"}
    assert set(gpu["environment"]) <= set(COMPOSE["services"][name]["environment"])
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])


def test_pods_are_locked_down() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert f"USER {POD['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text()
    own = CONTAINER["securityContext"]
    assert own["readOnlyRootFilesystem"] is True and own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert POD["automountServiceAccountToken"] is False
    writable = {mount["mountPath"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/tmp"}


def test_what_is_spooled_has_room_and_an_end_and_redis_a_password() -> None:
    largest = Settings.model_fields["max_stream_bytes"].default
    gib = 1 << 30
    assert CONTAINER["resources"]["requests"]["ephemeral-storage"] == f"{largest // gib}Gi"
    (tmp,) = (volume for volume in POD["volumes"] if volume["name"] == "tmp")
    limits = CONTAINER["resources"]["limits"]["ephemeral-storage"], tmp["emptyDir"]["sizeLimit"]
    assert all(int(limit.removesuffix("Gi")) * gib > largest for limit in limits)
    for name, service in COMPOSE["services"].items():
        if service.get("read_only"):
            assert all(":size=" in place for place in service["tmpfs"]), name
        if "redis-server" in service.get("command", ()):
            assert "--requirepass" in service["command"], name


def test_pods_are_reached_and_reach_only_what_the_policy_names() -> None:
    policy = MANIFESTS["NetworkPolicy"]["spec"]
    labels = MANIFESTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"port": CONTAINER["ports"][0]["name"]}]]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 6379, 4318}


def test_pods_are_probed_where_the_service_answers_and_have_the_time_to_drain() -> None:
    probes = {name: CONTAINER[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert probes == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/livez"}
    data = MANIFESTS["ConfigMap"]["data"]
    assert data.keys() <= SETTINGS
    drain, finish = float(data["DIFFCDR_DRAIN_SECONDS"]), float(data["DIFFCDR_FINISH_SECONDS"])
    limit = stop_seconds(Settings(bundle=Path("bundle"), drain_seconds=drain, finish_seconds=finish))
    assert POD["terminationGracePeriodSeconds"] > limit + 2 * PARENT_SECONDS
    readiness = CONTAINER["readinessProbe"]
    assert drain > readiness["periodSeconds"] * readiness["failureThreshold"]


def test_everything_that_selects_pods_selects_these() -> None:
    labels = MANIFESTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    spec = {kind: manifest.get("spec", {}) for kind, manifest in MANIFESTS.items()}
    assert spec["Deployment"]["selector"]["matchLabels"] == labels
    assert spec["Service"]["selector"] == spec["PodDisruptionBudget"]["selector"]["matchLabels"] == labels
    target = spec["HorizontalPodAutoscaler"]["scaleTargetRef"]
    assert target["name"] == MANIFESTS["Deployment"]["metadata"]["name"]
    assert spec["HorizontalPodAutoscaler"]["minReplicas"] > spec["PodDisruptionBudget"]["minAvailable"]
    assert spec["Service"]["ports"][0]["targetPort"] == CONTAINER["ports"][0]["name"]


def options_of(args: list[str]) -> dict[str, str]:
    """``--name=value`` and ``--name value`` as a mapping."""
    words = [part for arg in args for part in arg.split("=", 1)]
    return {name: value for name, value in pairwise([*words, ""]) if name.startswith("--")}


def test_a_retraining_reads_the_state_with_the_image_of_the_service_and_trains_without_it() -> None:
    job = MANIFESTS["CronJob"]["spec"]
    assert job["suspend"] is True and job["concurrencyPolicy"] == "Forbid"
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == POD["securityContext"]["runAsUser"]
    (work,) = pod["containers"]
    for container in (*pod["initContainers"], work):
        assert container["securityContext"] == CONTAINER["securityContext"]
    kubernetes = [each["args"] for each in (*pod["initContainers"], work)]
    names = ("export-events", "export-erasures", "retrain")
    for events, erasures, retrain in (kubernetes, [COMPOSE["services"][name]["command"] for name in names]):
        assert (events[:2], erasures[:2], retrain[0]) == (["events", "export"], ["erasures", "--opted-out"], "retrain")
        wanted = options_of(retrain)
        assert wanted["--events"] == options_of(events)["--out"]
        assert wanted["--exclude-users"] == options_of(erasures)["--out"]
        assert "--state" not in wanted and wanted.keys() <= known_options("retrain")
    assert "env" not in work and "environment" not in COMPOSE["services"]["retrain"]
    served = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert options_of(work["args"])["--bundle"] == MANIFESTS["ConfigMap"]["data"]["DIFFCDR_BUNDLE"]
    assert options_of(work["args"])["--bundle"].startswith(served["bundles"])
    chain = [COMPOSE["services"][name]["depends_on"] for name in names[1:]]
    assert chain == [{before: {"condition": "service_completed_successfully"}} for before in names[:2]]


def known_options(command: str) -> set[str]:
    """The options of ``diffcdr command`` in the reference, which is made from the code."""
    page = (ROOT / "docs/reference/cli.md").read_text().split(f"\n## diffcdr {command}\n")[1].split("\n## ")[0]
    return set(re.findall(r"`(--[a-z-]+)", page))
