"""A process that is killed while it writes the timeline loses nothing that it said is written, and
doubles nothing.

``TIMELINE_KILLS``: how often.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

from rpcproxy.edges.disk.timeline_store import read_timeline

KILLS = int(os.environ.get("TIMELINE_KILLS", "50"))
MOST_LINES = 60

# It begins at a line on its input: what it imports is there by then.
_CHILD = """
import asyncio, sys
from pathlib import Path
from rpcproxy.edges.disk.timeline_store import StoredEntry, TimelineStore

async def main(path, turn):
    store = await TimelineStore.open(path, bounds={"happening": 10**6})
    n = 0
    while True:
        for version in (1, 2):  # it begins, and it ends
            entries = [
                StoredEntry(f"{turn}-{n}-{i}", "happening", "g", float(turn), (f"k{turn}-{n}",),
                            str(version).encode(), version == 1)
                for i in range(n % 3 + 1)
            ]
            told = ",".join(entry.id for entry in entries)
            store.put(entries, lambda words, told=told, version=version:
                      print(f"{told}={version}{words}", flush=True))
            if n % 2:
                await asyncio.sleep(0)
        await asyncio.sleep(0.0005)
        n += 1

sys.stdin.readline()
asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


class _Writer:
    """A process that writes until it is killed."""

    def __init__(self, path: Path, turn: int) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(path), str(turn)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def killed_after(self, lines: int) -> list[str]:
        """What it said is written, until it was killed some time after so many lines."""
        told: list[str] = []
        with self._child as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write("\n")
            child.stdin.flush()
            told += [child.stdout.readline() for _ in range(lines)]
            os.kill(child.pid, signal.SIGKILL)
            told += child.stdout.readlines()
        return [line.strip() for line in told if line.endswith("\n")]

    def stop(self) -> None:
        with self._child as child:
            child.kill()


def test_kills_lose_nothing_that_was_told_and_double_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state" / "timeline.sqlite"
    rng = random.Random(12)
    told: dict[str, int] = {}
    following = _Writer(path, 0)
    try:
        for turn in range(KILLS):
            writer, following = following, _Writer(path, turn + 1)
            for line in writer.killed_after(rng.randint(0, MOST_LINES)):
                assert re.fullmatch(r"[-\d,]+=[12]", line), line
                names, _, version = line.partition("=")
                told |= {name: int(version) for name in names.split(",")}
    finally:
        following.stop()
    found = read_timeline(path, "happening", 0.0)
    versions = {each.id: int(each.data) for each in found}
    assert len(versions) == len(found), "none is there twice"
    assert {name: v for name, v in told.items() if versions.get(name, 0) < v} == {}
    assert len(told) > KILLS * MOST_LINES / 8
    assert all(each.is_held == (each.data == b"1") for each in found)
    assert list(path.parent.glob("*.damaged-*")) == []
