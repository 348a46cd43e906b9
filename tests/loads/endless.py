"""An open-loop load that goes on until it is stopped, and tells what came so far.

    load = EndlessLoad(proxy_url, 300)
    began_at = time.monotonic()
    ...                                              # outages happen here
    load.wait_for_answers(time.monotonic())
    window = load.report.between(began_at, time.monotonic())

By itself (``python -m tests.loads.endless URL RATE``) this is the load's process: it answers each
line on its input with a report of what came since the last.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

import msgspec
import uvloop

from rpcproxy.engine import tasks
from tests.kits.waiting import LIMIT_SECONDS, wait_until
from tests.loads.load import MAX_REQUESTS, ROOT, TIME_LIMIT_SECONDS, Load
from tests.loads.load_report import Report

CONNECTIONS: Final = 64


class EndlessLoad:
    """Wallets that go on asking until ``stop``; ``report`` grows with each ``take``."""

    def __init__(self, url: str, rate_per_second: float) -> None:
        self._gap = 1 / rate_per_second
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.loads.endless", url, str(rate_per_second)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.report = Report(0, 0, [], [], {}, 0, 0, 0, 0)
        wait_until(lambda: self.take().started_at > 0, "the load began")
        self.report.started_at = self.take().started_at

    def due(self) -> int:
        """How many requests were due by now."""
        return int((time.monotonic() - self.report.started_at) / self._gap)

    def take(self) -> Report:
        """What came since the last time; ``report`` has it, too."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the load has ended: see standard error"
        news = msgspec.json.decode(line, type=Report)
        self.report.samples += news.samples
        self.report.errors += news.errors
        self.report.by_method = news.by_method
        self.report.late += news.late
        return news

    def wait_for_answers(self, until: float) -> Sequence[Report]:
        """Wait until every request that was due before ``until`` has ended."""
        began_at = self.report.started_at
        due = max(0, int((until - began_at) / self._gap) - 2)
        while began_at + due * self._gap < until:
            due += 1
        news: list[Report] = []

        def are_all_there() -> bool:
            news.append(self.take())
            return sum(sample.at < until for sample in self.report.samples) >= due

        wait_until(are_all_there, "every request has ended")
        return news

    def stop(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


# --- The load's process


class Reporter(asyncio.Protocol):
    """Answers each line of the input with a report, and tells when the input has ended."""

    def __init__(self, load: Load, ended: asyncio.Future[None]) -> None:
        self._load = load
        self._ended = ended

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\n")):
            report = self._load.report
            report.by_method = dict(self._load.by_method)
            sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
            sys.stdout.buffer.flush()
            report.samples.clear()
            report.errors.clear()
            report.worst_lateness_seconds = report.worst_staleness_blocks = 0
            report.backward_heads = report.late = 0

    def connection_lost(self, _: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


async def _report(url: str, rate_per_second: float) -> None:
    loop = asyncio.get_running_loop()
    load = Load(url, rate_per_second, MAX_REQUESTS / rate_per_second, CONNECTIONS)
    await load.prepare(TIME_LIMIT_SECONDS)
    # Collections of some ms would be measured as the proxy's.
    gc.collect()
    gc.disable()
    ended = loop.create_future()
    await loop.connect_read_pipe(lambda: Reporter(load, ended), sys.stdin)
    running = tasks.start(load.run(), "load")
    await ended
    await tasks.stop(running)


if __name__ == "__main__":
    uvloop.run(_report(sys.argv[1], float(sys.argv[2])))
