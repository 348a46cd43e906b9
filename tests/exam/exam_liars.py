"""Upstreams that lie about the chain, each in its way, under load: no client sees a lie.

Each case is a chain of its own in the proxy: some honest upstreams, which all cases share, and one
or two that begin to lie while twenty wallets ask, and tell the truth again afterwards. Cases run
four at a time, once, when the first test asks for its outcome; only those that were selected.
``RPCPROXY_LIAR_SECONDS`` says how long each lies (4 unless set).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.scenarios.fault import Fault
from rpcproxy.drills.scenarios.faults import NULL_RESULTS
from rpcproxy.drills.scenarios.lies import FAR_AHEAD, LIARS, ahead, alternating, late_news
from tests.exam.control_load import ControlLoad
from tests.exam.judging import (
    IS_SHORT,
    Beside,
    Sheet,
    assert_at_most,
    assert_never,
    judged,
    why_not_judged,
)
from tests.integration.running_proxy import RunningProxy
from tests.kits.waiting import LIMIT_SECONDS, wait_until
from tests.loads.consistency import Checker
from tests.loads.heartbeat import Heartbeat
from tests.loads.wallet_load import ask_for
from tests.sockets.providers import ProviderProcess

LIAR_SECONDS: Final = float(os.environ.get("RPCPROXY_LIAR_SECONDS", "4"))
WARM_UP_SECONDS: Final = 1.0
RETURN_SECONDS: Final = 0.7
CASES_AT_A_TIME: Final = 4
RATE_PER_SECOND: Final = 150.0
BLOCK_TIME_SECONDS: Final = 0.8
LATENCY_SECONDS: Final = 0.02
# The honest keep the head going: what wallets were told at the end is no older than this.
MAX_BEHIND_BLOCKS: Final = 2
HONEST: Final = ("ada", "bob", "cyd")
PLACES: Final = (
    ("aws", "us-east-1"),
    ("gcp", "europe-west1"),
    ("azure", "westeurope"),
    ("aws", "eu-central-1"),
)


# Who turns a liar between two questions for its head is found out by the next one, once a block.
UNTIL_HEADS_TELL_SECONDS: Final = BLOCK_TIME_SECONDS + 0.5
# State carries no hash, and a block with a false time has the true one: until then, and no longer,
# nobody can know. Whatever names its block is held against it from the first moment.
UNKNOWABLE: Final = {
    "wrong_chain": frozenset({"invented state"}),
    "forked": frozenset({"invented state"}),
    "two_branches": frozenset({"invented state"}),
    "future_times": frozenset({"future"}),
    "state_frozen_lying": frozenset({"state fell", "state below told"}),
}


@dataclass(frozen=True, slots=True)
class Case:
    """``liars`` beside so many ``honest`` upstreams that have each block at once."""

    name: str
    liars: tuple[Fault, ...]
    honest: int

    @property
    def providers(self) -> list[str]:
        """The names of the lying ones."""
        return [f"{self.name}-{number}" for number in range(len(self.liars))]


# Nobody lies; but news travels.
ALL_HONEST: Final = [
    Case("honest", (), 3),
    Case("late-news", (late_news(0.1), late_news(0.2), late_news(0.3)), 1),
]
ONE_OF_FOUR: Final = [Case(name, (fault,), 3) for name, fault in LIARS.items()]
TOGETHER: Final = [
    Case("far-ahead-and-alternating", (FAR_AHEAD, alternating(3)), 2),
    Case("ahead-and-null", (ahead(3), NULL_RESULTS), 2),
]
# No majority: a jump of a thousand blocks is not believed all the same.
FEW: Final = [Case("one-of-two", (FAR_AHEAD,), 1), Case("alone", (FAR_AHEAD,), 0)]

pytestmark = pytest.mark.timeout(
    LIMIT_SECONDS
    + (LIAR_SECONDS + 10) * (len(ALL_HONEST + ONE_OF_FOUR + TOGETHER + FEW) / CASES_AT_A_TIME + 1)
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What wallets saw from the first to the last request, how old the head was in the end, and
    what these seconds were like.
    """

    checker: Checker
    blocks_passed: int
    behind_blocks: int
    warm_up: str
    beside: Beside


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    control: ControlLoad,
) -> Iterator[dict[str, Outcome]]:
    """The outcome of each selected case, by name."""
    selected = [
        item.callspec.params["case"]
        for item in request.session.items
        if item.path == request.path and isinstance(item, pytest.Function)
    ]
    cases = [case for case in selected if isinstance(case, Case)]
    found: dict[str, Outcome] = {}
    names = [*HONEST, *itertools.chain.from_iterable(case.providers for case in cases)]
    with ProviderProcess(
        *names, latency_seconds=LATENCY_SECONDS, block_time_seconds=BLOCK_TIME_SECONDS
    ) as providers:
        for start in range(0, len(cases), CASES_AT_A_TIME):
            wave = cases[start : start + CASES_AT_A_TIME]
            directory = tmp_path_factory.mktemp(f"wave-{start}")
            found |= _play(wave, providers, control, directory)
        yield found


def _play(
    cases: Sequence[Case], providers: ProviderProcess, control: ControlLoad, directory: Path
) -> dict[str, Outcome]:
    proxy = RunningProxy(_configuration(cases, providers.urls), directory)
    # Liars are reported as they deserve; that is about them, not about us.
    proxy.expected_errors += [" upstream=", " unsuspect ", " chain="]
    try:
        wait_until(lambda: _are_ready(proxy), "all upstreams are up, their heads known")
        outcomes = asyncio.run(_suffer_all(cases, providers, control, proxy.url))
    except BaseException:
        proxy.kill()
        raise
    proxy.close()
    return outcomes


def _are_ready(proxy: RunningProxy) -> bool:
    return all(
        upstream["state"] == "up" and upstream["head"] is not None
        for chain in proxy.status()["chains"]
        for upstream in chain["upstreams"]
    )


def _configuration(cases: Iterable[Case], urls: dict[str, str]) -> str:
    lines = ["server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}", "chains:"]
    for case in cases:
        lines += [
            f"  - name: {case.name.replace('_', '-')}",
            "    chain_id: 1337",
            f"    block_time: {BLOCK_TIME_SECONDS:g}s",
            "    upstreams:",
        ]
        names = [*case.providers, *HONEST[: case.honest]]
        for name, (cloud, region) in zip(names, PLACES, strict=False):
            lines.append(
                f"      - {{name: {name}, url: {urls[name]}, provider: {name},"
                f" cloud: {cloud}, region: {region}}}"
            )
    return "\n".join(lines) + "\n"


async def _suffer_all(
    cases: Sequence[Case], providers: ProviderProcess, control: ControlLoad, url: str
) -> dict[str, Outcome]:
    """Together, so that they have one control and one loop."""
    began_at = time.monotonic()
    errors = len(control.report.errors)
    async with Heartbeat() as beats:
        found = await asyncio.gather(*(_suffer(case, providers, url) for case in cases))
    window = control.between(began_at, time.monotonic())
    beside = Beside(window, control.report.errors[errors:], beats.due, beats.late)
    return {case.name: Outcome(*seen, beside) for case, seen in zip(cases, found, strict=True)}


async def _suffer(
    case: Case, providers: ProviderProcess, url: str
) -> tuple[Checker, int, int, str]:
    """The checker, how many blocks passed, how many the head was behind, what the warm-up was."""
    checker = Checker(SimChain(1337, BLOCK_TIME_SECONDS), lambda: providers.state().head, time.time)
    address = f"{url}/{case.name.replace('_', '-')}"

    async def ask(seconds: float) -> None:
        await ask_for(seconds, address, checker, rate_per_second=RATE_PER_SECOND)

    first = providers.state().head
    await ask(WARM_UP_SECONDS)
    warm_up = checker.summary()
    for name, fault in zip(case.providers, case.liars, strict=True):
        providers.set_fault(name, fault)
    checker.excused = UNKNOWABLE.get(case.name, frozenset())
    await ask(UNTIL_HEADS_TELL_SECONDS)
    checker.excused = frozenset()
    await ask(LIAR_SECONDS - UNTIL_HEADS_TELL_SECONDS)
    last = providers.state().head
    behind = last - checker.told.head
    for name in case.providers:
        providers.set_fault(name, None)
    await ask(RETURN_SECONDS)
    return checker, last - first, behind, warm_up


@pytest.mark.parametrize("case", ALL_HONEST, ids=lambda case: case.name)
def test_all_honest(outcomes: dict[str, Outcome], sheet: Sheet, case: Case) -> None:
    with _judged(outcomes[case.name], sheet) as outcome:
        assert_at_most(outcome.behind_blocks, MAX_BEHIND_BLOCKS, "blocks behind")


@pytest.mark.parametrize("case", ONE_OF_FOUR, ids=lambda case: case.name)
def test_one_of_four(outcomes: dict[str, Outcome], sheet: Sheet, case: Case) -> None:
    with _judged(outcomes[case.name], sheet) as outcome:
        assert_at_most(outcome.behind_blocks, MAX_BEHIND_BLOCKS, "blocks behind")


@pytest.mark.parametrize("case", TOGETHER, ids=lambda case: case.name)
def test_two_of_four(outcomes: dict[str, Outcome], sheet: Sheet, case: Case) -> None:
    with _judged(outcomes[case.name], sheet) as outcome:
        assert_at_most(outcome.behind_blocks, MAX_BEHIND_BLOCKS, "blocks behind")


@pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
def test_without_a_majority(outcomes: dict[str, Outcome], sheet: Sheet, case: Case) -> None:
    with _judged(outcomes[case.name], sheet):
        pass


@contextlib.contextmanager
def _judged(outcome: Outcome, sheet: Sheet) -> Iterator[Outcome]:
    """Judge it: no error and no lie, and what the block asserts."""
    with judged(sheet, lambda: why_not_judged(outcome.beside)):
        _assert_consistent(outcome, sheet)
        yield outcome


def _assert_consistent(outcome: Outcome, sheet: Sheet) -> None:
    """No error and no lie, in a load that deserves the name."""
    checker = outcome.checker
    sheet.note(
        requests=checker.answers,
        errors=checker.violations.total(),
        words=f"{outcome.behind_blocks} blocks behind in the end",
    )
    assert_never(checker.violations, f"{checker.summary()}\nbefore the lie: {outcome.warm_up}")
    assert checker.answers > 0
    assert outcome.blocks_passed > 0
    if not IS_SHORT:
        assert checker.answers > RATE_PER_SECOND * LIAR_SECONDS * 0.7
        assert outcome.blocks_passed >= LIAR_SECONDS / BLOCK_TIME_SECONDS
