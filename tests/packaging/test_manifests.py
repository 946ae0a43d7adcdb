"""The manifests for Kubernetes, as kubectl puts them together, held against its schemas and against athensd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from athensd import __version__
from athensd.config.keys import KEYS
from athensd.config.load import load
from athensd.config.settings import Config
from athensd.web.paths import HEALTH
from tests.packaging.packages import ROOT

SETTINGS = {variable for key in KEYS for variable in key.variables}
Objects = dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=["disk", "s3"])
def objects(request: pytest.FixtureRequest) -> Objects:
    """All objects of a variant, by their kind."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        ["kubectl", "kustomize", ROOT / "packaging/kubernetes" / request.param],
        env={"PATH": os.environ["PATH"], "KUBECONFIG": os.devnull},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}


def pod(objects: Objects) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod, and the one container in it."""
    spec = objects["Deployment"]["spec"]["template"]["spec"]
    [container] = spec["containers"]
    return spec, container


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_accepts_them(objects: Objects, version: str) -> None:
    """Each is valid by the schema of an old release and of a new one, without a field that is not in it."""
    assert {"ConfigMap", "Deployment", "PodDisruptionBudget", "Service"} <= objects.keys()
    for each in objects.values():
        kubernetes_validate.validate(each, version, strict=True)


def test_variables_are_settings(objects: Objects) -> None:
    """Each is one of ours, and together they make a configuration."""
    given = objects["ConfigMap"]["data"]
    assert given.keys() <= SETTINGS
    config = load("", given, "environment")
    _, container = pod(objects)
    assert [port["containerPort"] for port in container["ports"]] == [config.listen.port]
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    place = config.storage.disk.root_path if config.storage_type == "disk" else config.go_get_dir
    assert any(f"{place}/".startswith(f"{mount}/") for mount in mounted)
    assert container["envFrom"][0]["configMapRef"]["name"] == objects["ConfigMap"]["metadata"]["name"]


def test_probes_are_pages_of_ours(objects: Objects) -> None:
    """A store that is away takes a pod out of the service and does not restart it."""
    _, container = pod(objects)
    paths = {name: probe["httpGet"]["path"] for name, probe in container.items() if name.endswith("Probe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert {path[1:] for path in paths.values()} == HEALTH


def test_it_has_time_to_drain(objects: Objects) -> None:
    """After the pause in which the service forgets it."""
    spec, container = pod(objects)
    [_, pause] = container["lifecycle"]["preStop"]["exec"]["command"]
    assert spec["terminationGracePeriodSeconds"] > int(pause) + Config().shutdown_timeout


def test_the_pod_is_closed_and_bounded(objects: Objects) -> None:
    """The user of the image, no rights, no writing but to volumes, and an amount of memory."""
    spec, container = pod(objects)
    user = re.search(r"--uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert user and spec["securityContext"]["runAsUser"] == int(user[1])
    assert spec["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert container["resources"]["limits"]["memory"]
    assert container["image"] == f"athensd:{__version__}"


def test_service_and_budget_are_for_the_pods(objects: Objects) -> None:
    """Their selectors are labels of the pods, and the port of the service is one of the container."""
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Service"]["spec"]["selector"].items() <= labels.items()
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    _, container = pod(objects)
    assert [port["targetPort"] for port in objects["Service"]["spec"]["ports"]] == [container["ports"][0]["name"]]
