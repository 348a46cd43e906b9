"""The files in deploy/ hold together, and the tools they are for take them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from rpcproxy import __version__
from rpcproxy.chains.known import KNOWN
from rpcproxy.config.load import load_file
from tests.kits.pages import ROOT
from tests.kits.waiting import LIMIT_SECONDS

DEPLOY = ROOT / "deploy"
SYSTEMD, DOCKER, KUBERNETES = (DEPLOY / name for name in ("systemd", "docker", "kubernetes"))
UNITS = ("rpcproxy.service", "rpcproxy.socket", "rpcproxy-admin.socket")
KEYS = {"ADMIN_TOKEN": "0123456789abcdef", "INFURA_KEY": "k1", "ALCHEMY_KEY": "k2"}
# Of 10; the page docs/security.md names it.
EXPOSURE = 1.2
# The oldest that deploy/README.md names and a schema is at hand for, and the newest.
KUBERNETES_VERSIONS = ("1.28", kubernetes_validate.latest_version())
# What closing the journal and the connections may take at the end.
CLOSING_SECONDS = 10


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)s?", str(text))
    assert match is not None, text
    return float(match[1])


# ---- configurations


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("rpcproxy.yaml")), ids=str)
def test_configurations_load_without_a_warning(path: Path) -> None:
    config = load_file(path, KNOWN, KEYS)
    assert config.warnings == ()
    server = config.server
    assert server.admin is not None
    assert (server.listen.port, server.admin.port) == (8545, 9545)
    assert server.admin_token == KEYS["ADMIN_TOKEN"], "it listens beyond loopback"


# ---- systemd


def setting(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", (SYSTEMD / unit).read_text(), re.MULTILINE)


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A root directory with the units, and programs where they are looked for."""
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(SYSTEMD / unit, units)
    for program in ("opt/rpcproxy/bin/rpcproxy", "bin/kill"):
        path = tmp_path / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_takes_the_units(
    require_tool: Callable[[str], str], system: Path, unit: str
) -> None:
    path = system / "etc/systemd/system" / unit

    def verify() -> subprocess.CompletedProcess[str]:
        command = [require_tool("systemd-analyze"), "verify", "--man=no", f"--root={system}"]
        command += ["--recursive-errors=no", str(path)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
        )

    done = verify()
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    path.write_text(path.read_text() + "[Unit]\nAfterr=nothing\n")
    assert "Afterr" in verify().stderr, "a mistake would be told"


def test_systemd_calls_it_well_hardened(require_tool: Callable[[str], str]) -> None:
    command = [require_tool("systemd-analyze"), "security", "--offline=true", "--no-pager"]
    done = subprocess.run(
        [*command, str(SYSTEMD / UNITS[0])],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    found = re.search(r"Overall exposure level for rpcproxy.service: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= EXPOSURE
    assert f"gives\n{EXPOSURE} of 10" in (ROOT / "docs" / "security.md").read_text()


def test_the_units_hold_together() -> None:
    service, *sockets = UNITS
    assert setting(service, "Sockets") == [" ".join(sockets)]
    names = [setting(socket, "FileDescriptorName")[0] for socket in sockets]
    assert names == ["wallet", "admin"]
    assert all(setting(socket, "Service") == [service] for socket in sockets)
    drain = load_file(ROOT / "config/minimal.yaml", KNOWN, {}).server.drain_seconds
    assert seconds(setting(service, "TimeoutStopSec")[0]) >= drain + CLOSING_SECONDS
    assert setting(service, "Type") == ["notify"]
    assert setting(service, "StateDirectory") == ["rpcproxy"]
    assert setting(service, "RestartPreventExitStatus") == ["2"]


# ---- Docker


def test_hadolint_finds_nothing(
    require_tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    beside_python = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    monkeypatch.setenv("PATH", beside_python)
    command = [require_tool("hadolint"), str(DOCKER / "Dockerfile")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_hardened() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    *_, last = re.split(r"^FROM ", text, flags=re.MULTILINE)
    assert re.search(r"^USER 65532:65532$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert ":latest" not in text
    assert re.search(r"^ARG BASE=python:3\.\d+-slim-\w+$", text, re.MULTILINE)
    # What is copied is let through to the builder, and nothing else is.
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    passed = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert {name for line in copied for name in line.split()} == passed
    assert all((ROOT / name).exists() for name in passed)


def test_compose_is_hardened() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    services = compose["services"]
    assert services["rpcproxy"]["image"] == f"rpcproxy:{__version__}"
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:"), f"{name} is published to everybody"
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
            else:
                assert source in compose["volumes"], source
    drain = load_file(DOCKER / "config/rpcproxy.yaml", KNOWN, KEYS).server.drain_seconds
    grace = seconds(services["rpcproxy"]["stop_grace_period"])
    assert grace >= drain + CLOSING_SECONDS
    named = re.findall(r"^#?([A-Z_]+)=", (DOCKER / "env.example").read_text(), re.MULTILINE)
    used = re.findall(r"\$\{([A-Z_]+)", (DOCKER / "compose.yaml").read_text())
    assert {*used, "ADMIN_TOKEN"} <= set(named)


def test_prometheus_of_compose_is_well(require_tool: Callable[[str], str], tmp_path: Path) -> None:
    text = (DOCKER / "prometheus.yml").read_text()
    assert yaml.safe_load(text)["scrape_configs"][0]["job_name"] == "rpcproxy"
    token = tmp_path / "token"
    token.write_text(KEYS["ADMIN_TOKEN"])
    text = text.replace("/etc/prometheus/rpcproxy", str(DEPLOY / "prometheus"))
    path = tmp_path / "prometheus.yml"
    path.write_text(text.replace("/run/secrets/admin_token", str(token)))
    command = [require_tool("promtool"), "check", "config", str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "rules found" in done.stdout, "the rules were read, too"


# ---- Kubernetes


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name != "rpcproxy.yaml":
            for value in yaml.safe_load_all(path.read_text()):
                yield f"{path.parent.name}/{path.name}:{value['kind']}", value


def kind(name: str) -> dict[str, Any]:
    (found,) = (value for _, value in objects() if value["kind"] == name)
    return found


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_knows_every_field(version: str) -> None:
    checked = 0
    for name, value in objects():
        if value["kind"] in ("Kustomization", "Component", "ServiceMonitor"):
            continue  # none of Kubernetes' own
        kubernetes_validate.validate(value, version, strict=True)
        checked += 1
        value["metadata"]["nonsense"] = 1
        with pytest.raises(kubernetes_validate.ValidationError, match="nonsense"):
            kubernetes_validate.validate(value, version, strict=True)
        assert value["metadata"]["name"].startswith("rpcproxy"), name
    assert checked >= 8


def test_kustomizations_name_what_is_there() -> None:
    for path in KUBERNETES.rglob("kustomization.yaml"):
        told = yaml.safe_load(path.read_text())
        listed = [*told.get("resources", []), *told.get("components", [])]
        listed += [file for maker in told.get("configMapGenerator", []) for file in maker["files"]]
        for name in listed:
            assert (path.parent / name).exists(), f"{path}: {name}"
        files = {file.name for file in path.parent.glob("*.yaml")} - {"kustomization.yaml"}
        assert files <= set(listed), "every file is used"
        for image in told.get("images", []):
            assert image["newTag"] == __version__


def test_the_pods_are_hardened_and_have_time_to_leave() -> None:
    pod = kind("StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
    }
    pause = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = load_file(KUBERNETES / "base/rpcproxy.yaml", KNOWN, KEYS).server.drain_seconds
    assert pod["terminationGracePeriodSeconds"] >= pause + drain + CLOSING_SECONDS
    assert not any("subPath" in mount for mount in container["volumeMounts"]), "never reloaded"
    assert [one["topologyKey"] for one in pod["topologySpreadConstraints"]] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]


def test_probes_and_ports_are_those_of_the_proxy() -> None:
    (container,) = kind("StatefulSet")["spec"]["template"]["spec"]["containers"]
    config = load_file(KUBERNETES / "base/rpcproxy.yaml", KNOWN, KEYS)
    assert config.server.admin is not None
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"wallet": config.server.listen.port, "admin": config.server.admin.port}
    paths = {name: probe["httpGet"]["path"] for name, probe in container.items() if "Probe" in name}
    assert paths == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz?any",
    }
    assert container["args"] == ["serve", "-c", "/etc/rpcproxy/rpcproxy.yaml"]


def test_everything_selects_the_same_pods() -> None:
    stateful = kind("StatefulSet")["spec"]
    labels = stateful["selector"]["matchLabels"]
    assert stateful["template"]["metadata"]["labels"] == labels
    assert kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    target = kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("StatefulSet", "rpcproxy")
    scraped = kind("ServiceMonitor")["spec"]["selector"]["matchLabels"]
    services = [value for _, value in objects() if value["kind"] == "Service"]
    (pods,) = (one for one in services if one["metadata"].get("labels") == scraped)
    assert pods["metadata"]["name"] == stateful["serviceName"]
    assert pods["spec"]["clusterIP"] == "None"
    # The rules know the job by this name.
    assert kind("ServiceMonitor")["spec"]["jobLabel"] == "app.kubernetes.io/name"
    base = yaml.safe_load((KUBERNETES / "base/kustomization.yaml").read_text())
    assert base["labels"][0]["pairs"]["app.kubernetes.io/name"] == "rpcproxy"


def test_no_file_holds_a_secret() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix not in (".md", ".json"):
            for name in re.findall(r"(?:KEY|TOKEN|PASSWORD)[ ]*[=:][ ]*(\S+)", path.read_text()):
                assert name.startswith("${"), f"{path}: {name}"
