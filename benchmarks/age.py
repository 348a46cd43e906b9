"""``python -m benchmarks.age``: how old is what wallets see, and what does it cost upstream?

Four simulated upstreams of one chain, all honest, and the proxy in front of them. At moments
spread evenly over the phase of a block, a wallet asks for the head and for a balance at ``latest``.
Both are compared with the block that the freshest upstream had when the wallet asked. Each scene
has two halves: nobody asks, so that what the proxy asks by itself is counted; then the wallet does.

* ``together``: all upstreams have a block at once;
* ``spread``: the last has it ``--spread`` seconds after the first;
* ``together, fed`` and ``spread, fed``: the same with heads over WebSocket.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from benchmarks import contenders, figures, procfs
from benchmarks.contenders import CannotStart, Stage
from benchmarks.load import Client, LoadFailed
from rpcproxy.drills.evm.simchain import ACCOUNTS, block_of_balance
from rpcproxy.drills.providers.fleet import FleetState
from rpcproxy.drills.scenarios.lies import late_news

NAMES = ("one", "two", "three", "four")
CHAIN_ID = 1337
LATENCY_SECONDS = 0.02
BOUND_BLOCKS = 0.15  # on average, when heads are polled
FED_BOUND_BLOCKS = 0.05  # where they come over WebSocket, to all upstreams at once
FED = ", fed"
SETTLE_SECONDS = 6.0  # a few blocks, in which the proxy learns when they come
SAMPLES_PER_SECOND = 10
# Multiples of it, less their whole parts, fill the unit evenly, however many are taken.
GOLDEN = 0.6180339887498949
SECONDS_OF_A_DAY = 86400


@dataclass(frozen=True, slots=True)
class Age:
    """In blocks behind the freshest upstream; ``share_behind`` of the samples were behind."""

    samples: int
    mean: float
    p99: float
    worst: int
    share_behind: float


@dataclass(frozen=True, slots=True)
class Scene:
    """``idle_calls``: all calls per upstream and day while nobody asks; ``head_calls``: those for
    heads, while a wallet asks for them and for balances all the time.
    """

    name: str
    block_seconds: float
    head: Age
    state: Age
    idle_calls: float
    head_calls: float

    @property
    def bound(self) -> float:
        """In blocks. Where heads come one after the other, a second word is waited for."""
        return FED_BOUND_BLOCKS if self.name == f"together{FED}" else BOUND_BLOCKS

    @property
    def is_young(self) -> bool:
        return max(self.head.mean, self.state.mean) <= self.bound


def age(behind: Sequence[int]) -> Age:
    """``behind``: blocks, one value per sample. Ahead, by a block mined meanwhile, is not old."""
    blocks = [max(0, value) for value in behind]
    count = len(blocks)
    old = sum(value > 0 for value in blocks)
    worst = max(blocks)
    return Age(count, sum(blocks) / count, figures.percentile(blocks, 0.99), worst, old / count)


def per_day(calls: int, upstreams: int, seconds: float) -> float:
    """Calls at all upstreams in ``seconds``, as calls at one of them in a day."""
    return calls / upstreams / seconds * SECONDS_OF_A_DAY


def moments(seconds: float) -> list[float]:
    """When to ask, from 0 to ``seconds``: once in every step, each time elsewhere in it."""
    step = 1 / SAMPLES_PER_SECOND
    return [(index + index * GOLDEN % 1) * step for index in range(int(seconds / step))]


class Fleet:
    """The upstreams' process, and its control port."""

    def __init__(self, block_seconds: float) -> None:
        command = [sys.executable, "-m", "rpcproxy.drills.providers.fleet", "--until-eof"]
        command += [f"--name={name}" for name in NAMES]
        command += [f"--block-time={block_seconds}", f"--latency={LATENCY_SECONDS}"]
        command += [f"--chain-id={CHAIN_ID}"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=contenders.ROOT
        )
        assert self._process.stdout is not None
        told = self._process.stdout.readline()
        if not told:
            raise CannotStart("the upstreams did not start; their words are above")
        hello = json.loads(told)
        self.urls: dict[str, str] = hello["providers"]
        self._control = http.client.HTTPConnection(urlsplit(hello["control"]).netloc, timeout=10)

    def state(self, verb: str = "GET", path: str = "/state", body: bytes = b"") -> FleetState:
        self._control.request(verb, path, body)
        return msgspec.json.decode(self._control.getresponse().read(), type=FleetState)

    def spread(self, seconds: float) -> None:
        """From now on the last upstream has a block ``seconds`` after the first."""
        for index, name in enumerate(self.urls):
            fault = late_news(seconds * index / (len(self.urls) - 1)) if seconds else None
            order: dict[str, Any] = {"provider": name, "fault": fault}
            self.state("POST", "/fault", msgspec.json.encode(order))

    def calls(self) -> tuple[int, int]:
        """All calls so far at all upstreams, and those for heads among them."""
        counts = [provider.counts for provider in self.state().providers.values()]
        return (
            sum(sum(one.calls.values()) for one in counts),
            sum(sum(one.probe_calls.values()) for one in counts),
        )

    def close(self) -> None:
        self._control.close()
        contenders.end(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def proxy(
    stage: Stage, urls: dict[str, str], block_seconds: float, *, is_fed: bool = False
) -> Iterator[str]:
    """``rpcproxy serve`` before the fleet; its URL. ``is_fed``: it hears heads over WebSocket."""
    port = contenders.free_port()
    text = f"server: {{listen: 127.0.0.1:{port}, admin: 127.0.0.1:{contenders.free_port()}}}\n"
    text += f"chains:\n  - name: age\n    chain_id: {CHAIN_ID}\n"
    text += f"    block_time: {block_seconds:g}s\n    upstreams:\n"
    for (name, url), (cloud, region) in zip(urls.items(), contenders.PLACES, strict=True):
        text += f"      - {{name: {name}, url: {url}, provider: {name}, "
        feed = f", ws_url: {url.replace('http', 'ws', 1)}" if is_fed else ""
        text += f"cloud: {cloud}, region: {region}{feed}}}\n"
    path = stage.directory / "age.yaml"
    path.write_text(text)
    with stage.run([sys.executable, "-m", "rpcproxy", "serve", "-c", str(path)], "age") as process:
        url = f"http://127.0.0.1:{port}/"
        stage.await_answer("age", url, process)
        yield url


def watch(fleet: Fleet, url: str, seconds: float) -> tuple[Age, Age]:
    """The age of the head and of the state that a wallet is given. LoadFailed: an error."""
    heads: list[int] = []
    states: list[int] = []
    client = Client(url)
    began_at = time.monotonic()
    try:
        for moment in moments(seconds):
            time.sleep(max(0.0, began_at + moment - time.monotonic()))
            newest = fleet.state().head
            heads.append(newest - _number(client.result("eth_blockNumber", [])))
            newest = fleet.state().head
            balance = _number(client.result("eth_getBalance", [ACCOUNTS[2], "latest"]))
            states.append(newest - block_of_balance(balance))
    finally:
        client.close()
    return age(heads), age(states)


def _number(result: object) -> int:
    if not isinstance(result, str):
        raise LoadFailed(f"no number: {result!r}")
    return int(result, 16)


@dataclass(frozen=True, slots=True)
class Setting:
    """``seconds``: of each half of a scene. ``spread_seconds``: from the first upstream that has a
    block to the last.
    """

    seconds: float
    block_seconds: float = 2.0
    spread_seconds: float = 0.3


def play(fleet: Fleet, url: str, name: str, setting: Setting) -> Scene:
    """One scene: some blocks to settle, then idle, then with a wallet."""
    fleet.spread(setting.spread_seconds if name.startswith("spread") else 0.0)
    time.sleep(SETTLE_SECONDS)
    before, began_at = fleet.calls(), time.monotonic()
    time.sleep(setting.seconds)
    between, middle_at = fleet.calls(), time.monotonic()
    head, state = watch(fleet, url, setting.seconds)
    after, ended_at = fleet.calls(), time.monotonic()
    count = len(fleet.urls)
    idle_calls = per_day(between[0] - before[0], count, middle_at - began_at)
    head_calls = per_day(after[1] - between[1], count, ended_at - middle_at)
    return Scene(name, setting.block_seconds, head, state, idle_calls, head_calls)


def measure(stage: Stage, setting: Setting) -> list[Scene]:
    """All scenes. Raises CannotStart, LoadFailed or OSError where nothing could be measured."""
    fleet = Fleet(setting.block_seconds)
    try:
        scenes: list[Scene] = []
        for suffix in ("", FED):
            with proxy(stage, fleet.urls, setting.block_seconds, is_fed=bool(suffix)) as url:
                names = (f"together{suffix}", f"spread{suffix}")
                scenes += [play(fleet, url, name, setting) for name in names]
        return scenes
    finally:
        fleet.close()


def text_of(scenes: Sequence[Scene]) -> str:
    title = f"Blocks behind the freshest of {len(NAMES)} honest upstreams, mean (p99, worst)"
    lines = [f"{title}."]
    for scene in scenes:
        wanted = f"at most {scene.bound:g} on average is wanted"
        lines.append(f"{scene.name}, {scene.block_seconds:g} s blocks; {wanted}:")
        for what, found in (("eth_blockNumber", scene.head), ("state at latest", scene.state)):
            lines.append(
                f"  {what:<16} {found.mean:.3f} ({found.p99:g}, {found.worst}), "
                f"{found.share_behind:.1%} of {found.samples} answers behind"
            )
        lines.append(
            f"  calls per upstream and day: {scene.idle_calls:,.0f} while nobody asks, "
            f"{scene.head_calls:,.0f} for heads with a wallet that asks all the time"
        )
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.age",
        description="How many blocks behind the freshest upstream wallets are, and what the "
        "proxy asks upstream to know. Needs Linux.",
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of each half of a scene")
    parser.add_argument("--block-time", type=float, default=2.0, help="seconds")
    parser.add_argument("--spread", type=float, default=0.3, help="seconds between first and last")
    parser.add_argument("--out", type=Path, help="a file for the JSON, besides the text")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """1: too old on average; 2: nothing was measured."""
    options = parse(arguments)
    setting = Setting(options.seconds, options.block_time, options.spread)
    with tempfile.TemporaryDirectory(prefix="rpcproxy-age-") as directory:
        try:
            scenes = measure(Stage(Path(directory), procfs.Cores()), setting)
        except (CannotStart, LoadFailed, OSError) as error:
            print(f"Stopped: {error}", file=sys.stderr)
            return 2
    print(text_of(scenes))
    if options.out is not None:
        options.out.write_text(json.dumps([asdict(scene) for scene in scenes], indent=2) + "\n")
    return 0 if all(scene.is_young for scene in scenes) else 1


if __name__ == "__main__":
    sys.exit(main())
