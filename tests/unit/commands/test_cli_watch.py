"""The configuration file is watched: reloads, refusals, and an end at any moment."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import cast

import pytest

from rpcproxy.app.proxy import Proxy
from rpcproxy.commands.runs.serve_run import WATCH_FILE_SECONDS, _watch_file
from rpcproxy.config.model import Config
from rpcproxy.engine import tasks
from tests.kits.waiting import until
from tests.sockets.front_kit import NEW_LOOP

GOOD = "chains: [{name: base, upstreams: [https://a.com, https://b.com]}]\n"


class Reloads:
    """In place of the proxy: what it was told."""

    def __init__(self) -> None:
        self.taken: list[Config] = []
        self.refused: list[str] = []
        self.by: list[str] = []

    def reload(self, config: Config, by: str) -> None:
        self.taken.append(config)
        self.by.append(by)

    def refuse_reload(self, reason: str, by: str) -> None:
        self.refused.append(reason)
        self.by.append(by)


class Watched:
    """A file, and who watches it."""

    def __init__(self, path: Path, look_seconds: float = WATCH_FILE_SECONDS) -> None:
        self.path = path
        self.path.write_text(GOOD)
        self.reloads = Reloads()
        self.asked = asyncio.Event()
        options = argparse.Namespace(config=str(path), chains=[])
        watching = _watch_file(cast("Proxy", self.reloads), options, self.asked, look_seconds)
        self.task = tasks.start(watching, "watch")


@NEW_LOOP
def test_a_signal_reloads_and_a_bad_file_is_refused(new_loop, tmp_path: Path) -> None:
    async def main() -> None:
        watched = Watched(tmp_path / "f.yaml")
        watched.asked.set()
        await until(lambda: len(watched.reloads.taken) == 1)
        watched.path.write_text("chains: 3")
        watched.asked.set()
        await until(lambda: len(watched.reloads.refused) == 1)
        assert "expected a list of chains" in watched.reloads.refused[0]
        assert len(watched.reloads.taken) == 1
        assert watched.reloads.by == ["a signal (SIGHUP)"] * 2
        await tasks.stop(watched.task)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@NEW_LOOP
def test_a_changed_file_is_seen_without_a_signal(new_loop, tmp_path: Path) -> None:
    async def main() -> None:
        watched = Watched(tmp_path / "f.yaml", look_seconds=0.005)
        await asyncio.sleep(0)  # it has seen the first one
        watched.path.write_text(GOOD.replace("base", "ethereum"))
        await until(lambda: len(watched.reloads.taken) == 1)
        assert watched.reloads.taken[0].chains[0].name == "ethereum"
        assert watched.reloads.by == ["a change of the file"]
        await tasks.stop(watched.task)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("turns", range(6))
@NEW_LOOP
def test_an_end_just_after_a_signal_is_an_end(new_loop, turns: int, tmp_path: Path) -> None:
    async def main() -> None:
        watched = Watched(tmp_path / "f.yaml")
        await asyncio.sleep(0)
        watched.asked.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        watched.task.cancel()
        await until(watched.task.done, "the end: the cancellation was swallowed")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
