"""What the chart renders to: valid objects, and what must hold of them whatever the values are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "deploy" / "helm" / "super-advanced-agents"
HELM = os.environ.get("HELM", str(ROOT / ".venv-helm" / "helm"))
PROFILES = sorted((CHART / "profiles").glob("*.yaml"))
KEY = "saa_" + "a" * 12 + "_" + "x" * 43
CUSTOM = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, of which Kubernetes has no schema."""

pytestmark = pytest.mark.skipif(not Path(HELM).exists(), reason="`make chart-check` fetches helm")


def helm(*arguments):
    """Run helm, and return the finished process."""
    return subprocess.run([HELM, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def render(*arguments):
    """Return the objects that the chart renders to."""
    done = helm("template", "release", CHART, "--namespace", "memory", *arguments)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def pods(objects):
    """Yield the kind, name and pod specification of everything that runs pods."""
    for each in objects:
        if each["kind"] in {"Deployment", "StatefulSet", "Job"}:
            yield each["kind"], each["metadata"]["name"], each["spec"]["template"]["spec"]


@pytest.fixture(scope="module", params=PROFILES, ids=lambda path: path.stem)
def objects(request):
    """Return the objects of one profile of values."""
    return render("--values", request.param)


def test_objects_are_valid(objects, tmp_path):
    """Unknown fields count as errors."""
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all([each for each in objects if each["kind"] not in CUSTOM]))
    done = subprocess.run(
        [ROOT / ".venv" / "bin" / "kubernetes-validate", "--strict", file], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_chart_is_linted(profile):
    """`helm lint` finds what templates alone do not show."""
    done = helm("lint", "--strict", CHART, "--values", profile)
    assert done.returncode == 0, done.stdout


def test_every_container_is_limited_and_restricted(objects):
    """The restricted profile of pod security: no root, no capabilities, nothing written to the image."""
    found = 0
    for _, name, spec in pods(objects):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            found += 1
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys(), name
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
        for volume in spec["volumes"]:
            assert "hostPath" not in volume
    assert found


def test_embedded_store_has_one_replica_with_a_volume():
    """A second one could not open the folder, and an autoscaler must not try."""
    for values in ([], ["--set", "server.replicas=0"]):
        rendered = render("--values", CHART / "profiles" / "embedded.yaml", *values)
        [server] = [each for each in rendered if each["kind"] == "StatefulSet"]
        assert server["spec"]["replicas"] <= 1
        [claim] = server["spec"]["volumeClaimTemplates"]
        assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
        assert not [each for each in rendered if each["kind"] in {"HorizontalPodAutoscaler", "Deployment", "Job"}]


def test_no_object_holds_a_password_that_nobody_gave(objects):
    """With existing Secrets the chart makes none."""
    assert not [each for each in objects if each["kind"] == "Secret"]
    rendered = render("--set", f"auth.adminKey={KEY}")
    [secret] = [each for each in rendered if each["kind"] == "Secret"]
    assert secret["stringData"] == {"admin_key": KEY}
    others = [each for each in rendered if each["kind"] != "Secret"]
    assert KEY not in yaml.safe_dump_all(others)


def test_grace_covers_lingering_and_draining_and_probes_ask_the_right_paths(objects):
    """A pod that is killed while it drains fails requests."""
    [config] = [each["data"] for each in objects if each["kind"] == "ConfigMap"]
    [(_, _, spec)] = [pod for pod in pods(objects) if pod[2]["containers"][0]["name"] == "server"]
    [server] = spec["containers"]
    waits = (
        int(config["SAA_LINGER_S"]) + int(config["SAA_DRAIN_S"]) + server["lifecycle"]["preStop"]["sleep"]["seconds"]
    )
    assert spec["terminationGracePeriodSeconds"] >= waits + 10
    paths = {name: server[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_cluster_scales_and_survives_the_drain_of_a_node():
    """Replicas are the autoscaler's matter, and the new pod comes before the old one goes."""
    rendered = {
        each["kind"] + "/" + each["metadata"]["name"]: each for each in render("-f", CHART / "profiles/cluster.yaml")
    }
    server = rendered["Deployment/release-saa"]["spec"]
    assert "replicas" not in server
    assert server["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert {each["topologyKey"] for each in server["template"]["spec"]["topologySpreadConstraints"]} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    assert rendered["PodDisruptionBudget/release-saa"]["spec"]["maxUnavailable"] == 1
    assert rendered["HorizontalPodAutoscaler/release-saa"]["spec"]["minReplicas"] == 3
    assert rendered["Deployment/release-saa-worker"]["spec"]["replicas"] == 2
    assert {"Ingress/release-saa-rest", "Ingress/release-saa-grpc", "NetworkPolicy/release-saa"} <= rendered.keys()
    assert rendered["PrometheusRule/release-saa"]["spec"]["groups"][0]["rules"]
    assert "memory.example.org" in rendered["ConfigMap/release-saa"]["data"]["SAA_ALLOWED_HOSTS"]


def test_selectors_pick_pods_of_their_own_component(objects):
    """A service that also picked workers would send requests where nobody listens."""
    [service] = [each for each in objects if each["kind"] == "Service"]
    assert service["spec"]["selector"]["app.kubernetes.io/component"] == "server"
    for each in objects:
        if each["kind"] in {"Deployment", "StatefulSet"}:
            assert each["spec"]["selector"]["matchLabels"] == each["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ("", "there is no admin key"),
        (f"auth.adminKey={KEY},server.replicas=3", "an embedded store has one owner"),
        (f"auth.adminKey={KEY},autoscaling.enabled=true", "an embedded store has one owner"),
        (f"auth.adminKey={KEY},worker.replicas=1", "a worker needs a store"),
        (f"auth.adminKey={KEY},store.kind=external", "there is no URL"),
        (f"auth.adminKey={KEY},store.kind=external,external.storeUrl=milvus://m:19530", "set external.stateUrl"),
        (f"auth.adminKey={KEY},metrics.enabled=true", "metrics beyond loopback need a key"),
        (f"auth.adminKey={KEY},metrics.serviceMonitor.enabled=true", "set metrics.enabled=true"),
        (f"auth.adminKey={KEY},ingress.rest.enabled=true", "ingress.rest has no host"),
        ("auth.adminKey=admin", "adminKey"),
        (f"auth.adminKey={KEY},store.kind=mysql", "kind"),
        (f"auth.adminKey={KEY},sever.replicas=1", "sever"),
        (f"auth.adminKey={KEY},server.settings.PORT=1", "PORT"),
        (f"auth.adminKey={KEY},server.settings.SAA_GENERATION_API_KEY=x", "SAA_GENERATION_API_KEY"),
        (f"auth.adminKey={KEY},server.settings.SAA_STORE=postgresql://a:b@c/d", "SAA_STORE"),
        (f"auth.adminKey={KEY},server.resources.limits=null", "limits"),
        (f"auth.adminKey={KEY},ingress.trustedProxies={{0.0.0.0/0}}", "trustedProxies"),
    ],
)
def test_broken_values_are_refused_with_the_reason(values, sentence):
    """By the schema, or by one sentence that says what to set."""
    done = helm("template", "release", CHART, *(["--set", values] if values else []))
    assert done.returncode != 0
    assert sentence in done.stderr


def test_file_of_values_that_cannot_be_parsed_is_named(tmp_path):
    """Helm itself says where."""
    (tmp_path / "broken.yaml").write_text("server: {replicas: 1\nauth:\n")
    done = helm("template", "release", CHART, "--values", tmp_path / "broken.yaml")
    assert done.returncode != 0
    assert "broken.yaml" in done.stderr


def test_workers_are_scraped_where_servers_are():
    """A job that always fails would otherwise be seen by nobody."""
    rendered = render("--values", CHART / "profiles" / "cluster.yaml")
    [monitor] = [each["spec"] for each in rendered if each["kind"] == "PodMonitor"]
    [worker] = [
        each for each in rendered if each["metadata"]["name"] == "release-saa-worker" and "template" in each["spec"]
    ]
    assert monitor["selector"]["matchLabels"] == worker["spec"]["template"]["metadata"]["labels"]
    ports = [port["name"] for port in worker["spec"]["template"]["spec"]["containers"][0]["ports"]]
    assert [endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]] == ports


def test_rules_of_the_chart_are_those_of_the_monitoring_folder():
    """A chart can only read files below its own folder."""
    assert (CHART / "files" / "alerts.yaml").read_bytes() == (ROOT / "deploy/monitoring/alerts.yaml").read_bytes()


def test_settings_go_before_those_of_the_chart_and_keep_their_numbers():
    """A key that stands twice is refused by stricter parsers, and 16777216 is not 1.6777216e+07."""
    done = helm(
        *("template", "release", CHART, "--set", f"auth.adminKey={KEY}"),
        *("--set", "server.settings.SAA_ALLOWED_HOSTS=a.example.org\\,b.example.org"),
        *("--set-json", "server.settings.SAA_MAX_BODY_BYTES=16777216,server.settings.SAA_RATE_LIMIT_PER_KEY=1e6"),
        *("--set", "server.settings.SAA_SLOW_REQUEST_S=0.5,server.settings.SAA_ACCESS_LOG=false"),
        *("--show-only", "templates/config.yaml"),
    )
    assert done.returncode == 0, done.stderr
    data = yaml.safe_load(done.stdout)["data"]
    assert done.stdout.count("SAA_ALLOWED_HOSTS") == 1
    assert data["SAA_ALLOWED_HOSTS"] == "a.example.org,b.example.org"
    assert (data["SAA_MAX_BODY_BYTES"], data["SAA_RATE_LIMIT_PER_KEY"]) == ("16777216", "1000000")
    assert (data["SAA_SLOW_REQUEST_S"], data["SAA_ACCESS_LOG"]) == ("0.5", "false")


def test_further_secrets_reach_each_container_as_variables():
    """Keys of model servers and webhooks have no place in a ConfigMap."""
    values = ("--values", CHART / "profiles" / "cluster.yaml", "--set", "server.existingSecret=saa-more")
    for kind, _, spec in pods(render(*values)):
        for container in spec["containers"]:
            assert {"secretRef": {"name": "saa-more"}} in container["envFrom"], kind
