"""What a hang-up asks for: to end, or to read the configuration again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from rpcproxy.app.process.hang_ups import HangUps, TerminalState, look_at_terminal


class Loop:
    """In place of a loop: who listens to the signal."""

    def __init__(self) -> None:
        self.heard: Callable[[], object] | None = None

    def add_signal_handler(self, signum: int, handler: Callable[[], object]) -> None:
        assert signum == signal.SIGHUP
        self.heard = handler


class Window:
    """A terminal, a process in it, and the time."""

    def __init__(self, *, has_file: bool = True, **given: Any) -> None:
        self.state, self.now = given.pop("state", TerminalState.THERE), 100.0
        self.done: list[str] = []
        self.loop = Loop()
        self.hang_ups = HangUps(lambda: self.state, is_ignored=given.pop("is_ignored", False))
        if given.pop("came", False):
            self.hang_ups._on_early()
        self.state = given.pop("later", self.state)
        self.hang_ups.hand_over(
            cast("Any", self.loop),
            lambda: self.now,
            end=lambda: self.done.append("end"),
            reload=(lambda: self.done.append("reload")) if has_file else None,
        )

    def hang_up(self) -> list[str]:
        assert self.loop.heard is not None
        self.loop.heard()
        return self.done


def test_where_no_file_is_read_it_is_the_end() -> None:
    assert Window(has_file=False).hang_up() == ["end"]
    assert Window(has_file=False, state=TerminalState.NONE).hang_up() == ["end"]


@pytest.mark.parametrize("state", TerminalState)
def test_while_nothing_changes_the_file_is_read_again(state: TerminalState) -> None:
    assert Window(state=state).hang_up() == ["reload"]


def test_with_its_terminal_gone_it_ends() -> None:
    window = Window()
    window.state = TerminalState.NONE
    assert window.hang_up() == ["end"]


def test_what_outlived_its_terminal_reads_the_file_again() -> None:
    window = Window()
    window.state = TerminalState.NONE
    window.hang_ups.look()  # left running on purpose: no signal came
    window.now += 60.0
    assert window.hang_up() == ["reload"]


def test_the_signal_may_come_a_moment_after_the_terminal_went() -> None:
    window = Window()
    window.state = TerminalState.NONE
    window.hang_ups.look()
    window.now += 2.0
    assert window.hang_up() == ["end"]


def test_a_terminal_that_cannot_be_looked_at_is_taken_to_be_there() -> None:
    window = Window()
    window.state = TerminalState.UNKNOWN
    assert window.hang_up() == ["reload"]


def test_under_nohup_nothing_ends() -> None:
    window = Window(is_ignored=True)
    window.state = TerminalState.NONE
    assert window.hang_up() == ["reload"]
    assert Window(is_ignored=True, has_file=False).loop.heard is None


def test_one_that_came_early_is_acted_on() -> None:
    assert Window(came=True).done == ["reload"]
    assert Window(came=True, later=TerminalState.NONE).done == ["end"]
    assert Window(came=True, has_file=False).done == ["end"]


@pytest.fixture
def handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("handler")
def test_a_short_command_is_ended_by_the_one_it_held(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    hang_ups = HangUps(lambda: TerminalState.THERE, is_ignored=False)
    hang_ups.hold()
    os.kill(os.getpid(), signal.SIGHUP)
    hang_ups.pass_on()
    assert (raised, signal.getsignal(signal.SIGHUP)) == ([signal.SIGHUP], signal.SIG_DFL)


@pytest.mark.usefixtures("handler")
def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    hang_ups = HangUps(lambda: TerminalState.THERE)
    hang_ups.hold()
    hang_ups.pass_on()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_the_terminal_is_looked_at() -> None:
    assert look_at_terminal() in TerminalState
