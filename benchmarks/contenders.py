"""Who is measured: HAProxy, nginx, rpcproxy, or any URL. Each forwards to the same stub.

The references run one thread each, with keep-alive on both sides and no log, and verify the
upstream's certificate and name on the TLS side, as rpcproxy always does.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import trustme

from benchmarks import procfs, stub
from benchmarks.load import Client, LoadFailed

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0
BEFORE = "before"  # the build of another checkout

Side = Literal["plain", "tls"]  # towards the upstream

# As many clouds as the configuration of a careful user would name.
PLACES = (("aws", "us-east-1"), ("gcp", "europe-west4"), ("azure", "eastasia"), ("own", "home"))


class CannotStart(Exception):
    """A contender or the stub did not come up; the message says why in words."""


@dataclass(frozen=True, slots=True)
class Contender:
    """``pids`` is empty where nobody told us the process: its CPU then stays unknown."""

    name: str
    url: str
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The running stub: its ports by side and the file of the authority that signed it."""

    plain: tuple[int, ...]
    tls: tuple[int, ...]
    authority: Path

    def ports(self, side: Side, count: int) -> tuple[int, ...]:
        return (self.plain if side == "plain" else self.tls)[:count]

    def answered(self) -> int:
        """How many client calls the stub has answered since it began."""
        client = Client(f"http://127.0.0.1:{self.plain[0]}/")
        try:
            count = client.result("bench_count", [])
        finally:
            client.close()
        if not isinstance(count, int):
            raise LoadFailed(f"the stub counts in {count!r}")
        return count


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything runs: a directory for configurations and logs, and the cores."""

    directory: Path
    cores: procfs.Cores

    @contextlib.contextmanager
    def run(
        self,
        command: Sequence[str],
        name: str,
        environment: Mapping[str, str] | None = None,
        place: Path = ROOT,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A contender on its core, with its output in a log; ended on leaving."""
        with (
            (self.directory / f"{name}.log").open("wb") as log,
            self.cores.contender_core(),
        ):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=place,
                env={**os.environ, **(environment or {})},
            )
        try:
            yield process
        finally:
            end(process)

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")[-1500:]

    def await_answer(self, name: str, url: str, process: subprocess.Popen[bytes] | None) -> None:
        """Until a call went all the way. CannotStart: the process ended, or time is up."""
        end_at = time.monotonic() + START_SECONDS
        trouble: Exception = CannotStart("not asked yet")
        while time.monotonic() < end_at:
            if process is not None and process.poll() is not None:
                raise CannotStart(f"{name} ended at once:\n{self.log(name)}")
            try:
                client = Client(url)
                try:
                    client.result("eth_getBalance", ["0x" + "1" * 40, "latest"])
                finally:
                    client.close()
            except (OSError, LoadFailed, ValueError) as error:
                trouble = error
                time.sleep(0.05)
            else:
                return
        log = self.log(name) if process is not None else ""
        raise CannotStart(f"{name} gave no answer in {START_SECONDS:.0f} s: {trouble}\n{log}")


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def upstreams(stage: Stage, *, plain: int = 64, tls: int = 4, port: int = 0) -> Iterator[Upstreams]:
    """Run the stub beside the load. ``port``: the first plain port, 0 for any."""
    authority = trustme.CA()
    authority_file = stage.directory / "authority.pem"
    certificate_file = stage.directory / "certificate.pem"
    authority.cert_pem.write_to_path(authority_file)
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(certificate_file)
    command = [sys.executable, "-m", "benchmarks.stub", "--plain", str(plain), "--tls", str(tls)]
    command += ["--port", str(port), "--certificate", str(certificate_file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        told = process.stdout.readline()
        if not told:
            raise CannotStart("the stub did not start; its words are above")
        ports = json.loads(told)
        yield Upstreams(tuple(ports["plain"]), tuple(ports["tls"]), authority_file)
    finally:
        end(process)
        process.stdin.close()
        process.stdout.close()


@contextlib.contextmanager
def haproxy(stage: Stage, up: Upstreams, count: int) -> Iterator[dict[Side, Contender]]:
    ports: dict[Side, int] = {"plain": free_port(), "tls": free_port()}
    text = """global
    nbthread 1
    maxconn 4000
defaults
    mode http
    option http-keep-alive
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"""
    for side, port in ports.items():
        text += f"listen {side}\n    bind 127.0.0.1:{port}\n"
        tls = f"ssl verify required ca-file {up.authority} sni str(localhost) verifyhost localhost"
        for index, upstream in enumerate(up.ports(side, count)):
            secure = tls if side == "tls" else ""
            text += f"    server {side}{index} 127.0.0.1:{upstream} {secure}\n"
    path = stage.directory / "haproxy.cfg"
    path.write_text(text)
    with stage.run(["haproxy", "-db", "-f", str(path)], "haproxy") as process:
        yield _sides(stage, "haproxy", ports, process)


@contextlib.contextmanager
def nginx(stage: Stage, up: Upstreams, count: int) -> Iterator[dict[Side, Contender]]:
    ports: dict[Side, int] = {"plain": free_port(), "tls": free_port()}
    here = stage.directory
    text = f"daemon off; master_process off; worker_processes 1; pid {here}/nginx.pid;\n"
    text += "error_log stderr crit; events { worker_connections 4000; }\nhttp { access_log off;\n"
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        text += f"{kind}_temp_path {here}/{kind};\n"
    text += "keepalive_requests 1000000000; client_max_body_size 16m;\n"
    for side, port in ports.items():
        scheme = "https" if side == "tls" else "http"
        servers = "".join(f"server 127.0.0.1:{to}; " for to in up.ports(side, count))
        text += f"upstream {side} {{ {servers} keepalive 64; keepalive_requests 1000000000; }}\n"
        text += f"""server {{ listen 127.0.0.1:{port};
  location / {{ proxy_pass {scheme}://{side}; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_ssl_verify on; proxy_ssl_server_name on;
    proxy_ssl_name localhost; proxy_ssl_trusted_certificate {up.authority}; }} }}\n"""
    path = here / "nginx.conf"
    path.write_text(text + "}\n")
    command = ["nginx", "-p", str(here), "-c", str(path), "-e", "stderr"]
    with stage.run(command, "nginx") as process:
        yield _sides(stage, "nginx", ports, process)


def _sides(
    stage: Stage, name: str, ports: Mapping[Side, int], process: subprocess.Popen[bytes]
) -> dict[Side, Contender]:
    found: dict[Side, Contender] = {}
    for side, port in ports.items():
        url = f"http://127.0.0.1:{port}/"
        stage.await_answer(name, url, process)
        found[side] = Contender(name, url, tuple(procfs.tree(process.pid)))
    return found


@contextlib.contextmanager
def rpcproxy(
    stage: Stage,
    up: Upstreams,
    side: Side,
    count: int,
    *,
    journal: str = "off",
    before: Path | None = None,
) -> Iterator[Contender]:
    """``rpcproxy serve`` with everything on that is on by default: metrics, health, hedging, reads
    pinned to the served head, answers held against the chain, and kept. ``journal``: as in the
    configuration; these loads send nothing, but for ``benchmarks.sends``. ``before``: another
    checkout with its .venv, whose build runs.
    """
    who = "rpcproxy" if before is None else BEFORE
    port, name = free_port(), f"{who}-{side}"
    text = f"""server:
  listen: 127.0.0.1:{port}
  admin: 127.0.0.1:{free_port()}
  journal: {journal}
  history: off
chains:
  - name: benchmark
    kind: evm
    chain_id: {stub.CHAIN_ID}
    block_time: {stub.BLOCK_SECONDS}s
    upstreams:
"""
    scheme, host = ("https", "localhost") if side == "tls" else ("http", "127.0.0.1")
    for index, upstream in enumerate(up.ports(side, count)):
        cloud, region = PLACES[index % len(PLACES)]
        text += f"""      - name: stub-{index}
        url: {scheme}://{host}:{upstream}/
        provider: company-{index}
        cloud: {cloud}
        region: {region}
"""
    path = stage.directory / f"{name}.yaml"
    path.write_text(text)
    python = sys.executable if before is None else str(before / ".venv" / "bin" / "python")
    command = [python, "-m", "rpcproxy", "serve", "-c", str(path)]
    environment = {"SSL_CERT_FILE": str(up.authority)}
    with stage.run(command, name, environment, before or ROOT) as process:
        url = f"http://127.0.0.1:{port}/"
        stage.await_answer(name, url, process)
        yield Contender(who, url, tuple(procfs.tree(process.pid)))


def existing(stage: Stage, url: str, pid: int | None) -> Contender:
    """Another proxy that runs already. ProcessLookupError: there is no ``pid``."""
    stage.await_answer(url, url, None)
    return Contender("the other", url, tuple(procfs.tree(pid)) if pid is not None else ())


def is_here(tool: str) -> bool:
    return shutil.which(tool) is not None


def version(tool: str) -> str:
    """The first version number that the tool says of itself; "not here" where it is not."""
    if not is_here(tool):
        return "not here"
    told = subprocess.run([tool, "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", told.stdout + told.stderr)
    return found[0] if found else "unknown"
