"""How far a check has come, on the standard error, where that is a terminal.

State: what each upstream is asked now, in ``Progress``.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from rpcproxy.config.model import Config

_SHOWN: Final = 3


class Progress:
    """One line: how many upstreams are done, and what some of the others are asked. It is gone
    at the end.
    """

    def __init__(self, config: Config, stream: TextIO) -> None:
        self._asked: dict[tuple[str, str], str] = {}
        self._bar: Bar | None = None
        self._task = TaskID(0)
        if stream.isatty():
            self._bar = Bar(
                TextColumn("asking"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.description}", markup=False),
                console=Console(file=stream),
                transient=True,
            )
            count = sum(len(chain.upstreams) for chain in config.chains)
            self._task = self._bar.add_task("", total=count)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_step(self, chain: str, upstream: str, step: str) -> None:
        """``upstream`` is asked for ``step`` now, or done where that is empty."""
        if self._bar is None:
            return
        self._asked.pop((chain, upstream), None)
        if step:
            self._asked[chain, upstream] = step
        else:
            self._bar.advance(self._task)
        last = list(self._asked.items())[-_SHOWN:]
        words = ", ".join(f"{name}: {asked}" for (_, name), asked in last)
        self._bar.update(self._task, description=words)
