"""``docker-compose.yml`` and ``Dockerfile``, as far as they can be known to be right without a container engine."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from athensd.config.keys import KEYS
from athensd.config.load import load

ROOT = Path(__file__).parents[2]
OPTIONAL = {"azurite", "etcd", "minio", "mongo", "mysql", "postgres", "redis"}
SETTINGS = {variable for key in KEYS for variable in key.variables}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """All services, as docker-compose itself reads them."""
    if not shutil.which("docker-compose"):
        pytest.skip("docker-compose is not installed")
    everything = [f"--profile={name}" for name in sorted(OPTIONAL)]
    done = subprocess.run(["docker-compose", *everything, "config"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


def test_without_a_profile_there_is_the_proxy_and_what_watches_it(services: dict[str, Any]) -> None:
    """The servers for later are started by their profile alone, which has their name."""
    profiles = {name: service.get("profiles") for name, service in services.items()}
    assert profiles == {
        **dict.fromkeys(("athensd", "grafana", "jaeger", "prometheus")),
        **{name: [name] for name in OPTIONAL},
    }


def test_every_image_has_a_version(services: dict[str, Any]) -> None:
    """What is started today is what is started in a year."""
    images = [service["image"] for name, service in services.items() if name != "athensd"]
    images += re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for image in images:
        assert re.search(r":v?\d+\.\d+|:RELEASE\.\d{4}", image), image


def test_settings_of_athensd_are_settings(services: dict[str, Any]) -> None:
    """Each variable in both files is one of ours, and the values make a configuration."""
    image = dict(re.findall(r"^(?:ENV|   ) (\w+)=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    given = {**image, **services["athensd"]["environment"]}
    del given["PATH"]
    assert given.keys() <= SETTINGS
    config = load("", given, "environment")
    assert (config.storage_type, config.storage.disk.root_path) == ("disk", "/var/lib/athensd")
    assert (config.trace_exporter, config.trace_exporter_url) == ("jaeger", "http://jaeger:14268")
    assert config.listen.port == 3000


def test_ports_are_of_this_machine_alone_and_none_is_given_twice(services: dict[str, Any]) -> None:
    """Nothing is open to the network; a second service on a port could not start."""
    ports = list(_ports(services))
    outside = [port.rpartition(":")[0] for port in ports]
    assert {port.partition(":")[0] for port in outside} == {"127.0.0.1"}
    assert len(outside) == len(set(outside))
    assert "127.0.0.1:3000:3000/tcp" in ports, "where the README says"


def _ports(services: dict[str, Any]) -> Iterator[str]:
    for service in services.values():
        for port in service["ports"]:
            yield port if isinstance(port, str) else "{host_ip}:{published}:{target}/{protocol}".format(**port)


def test_what_is_mounted_is_there(services: dict[str, Any]) -> None:
    """A missing file would be made by the engine, as an empty directory."""
    volumes = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    files = [Path(volume) for volume in volumes if volume.startswith("/")]
    assert files
    assert [file for file in files if not file.exists()] == []


def test_every_service_says_whether_it_is_well(services: dict[str, Any]) -> None:
    """``docker compose ps`` shows which of them are ready; athensd's own check is in its image."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert [name for name, service in services.items() if "healthcheck" not in service] == ["athensd"]
    assert "\nHEALTHCHECK " in dockerfile


def test_the_image_takes_what_the_package_is_made_of() -> None:
    """What is copied is there, and ``.dockerignore`` lets it through."""
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    lets_through = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(names) == sorted(lets_through)
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_image_does_not_run_as_root() -> None:
    """After the last thing that needs root a user of its own takes over, and signals reach the daemon by an init."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    at = lines.index("USER athensd")
    assert not [line for line in lines[at:] if line.startswith(("RUN", "COPY", "USER root"))]
    assert 'ENTRYPOINT ["tini", "--"]' in lines[at:]
