"""Words other than observations, through the one door."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rpcproxy.messages import MethodClass, Verdict
from rpcproxy.rules.telling.snapshot import snapshot_of
from rpcproxy.states import ChangeKind
from rpcproxy.words import BlockNamed, Doubt, DoubtKind, Observation, OperatorOrder, Proof, Word
from tests.kits.fleet import Fleet, four, upstream

ALL: tuple[Word, ...] = (
    Observation("a", MethodClass.LIGHT, Verdict.OK, 0.02),
    Doubt("a", DoubtKind.ANSWER, "its block 5 is not on our chain"),
    Doubt("a", DoubtKind.STATE, ""),
    Proof("a", takes_hashes=True),
    BlockNamed("a", 101, "0x65"),
    OperatorOrder("a", "drain"),
)


def kinds(changes: Any) -> list[tuple[str, ChangeKind]]:
    return [(change.upstream, change.kind) for change in changes]


@pytest.mark.parametrize("word", ALL, ids=lambda word: type(word).__name__)
def test_a_word_about_nobody_here_is_ignored(word: Word) -> None:
    fleet = Fleet(four())
    before = snapshot_of(fleet.standings, fleet.now)
    gone = msgspec.structs.replace(word, upstream="gone", replica="other")
    assert list(fleet.standings.observe(gone, fleet.now)) == []
    assert snapshot_of(fleet.standings, fleet.now) == before


@pytest.mark.parametrize("word", ALL, ids=lambda word: type(word).__name__)
def test_every_word_is_a_plain_value_that_another_process_can_send(word: Word) -> None:
    told = msgspec.structs.replace(word, replica="east-2")
    plain = {field: getattr(told, field) for field in told.__struct_fields__}
    assert type(word)(**plain) == told


def test_a_doubted_answer_leaves_an_upstream_out_while_others_serve() -> None:
    fleet = Fleet(four())
    changes = fleet.standings.observe(Doubt("a", DoubtKind.ANSWER, "a fork"), fleet.now)
    assert kinds(changes) == [("a", ChangeKind.FORKED)]
    assert "a" not in fleet.usable()
    again = fleet.standings.observe(Doubt("a", DoubtKind.ANSWER, "a fork"), fleet.now)
    assert kinds(again) == []


def test_nobody_is_left_out_who_serves_alone() -> None:
    fleet = Fleet([upstream("a")])
    assert kinds(fleet.standings.observe(Doubt("a", DoubtKind.ANSWER, "a fork"), fleet.now)) == []
    assert fleet.usable() == ["a"]


def test_a_doubt_of_state_stands_until_it_is_taken_back() -> None:
    fleet = Fleet(four())
    odd, fine = (Doubt("b", DoubtKind.STATE, reason) for reason in ("other state", ""))
    assert kinds(fleet.standings.observe(odd, fleet.now)) == [("b", ChangeKind.FORKED)]
    assert kinds(fleet.standings.observe(odd, fleet.now)) == []
    fleet.standings.observe(fine, fleet.now)
    assert fleet["b"].state_fault == ""


def test_a_proof_says_who_takes_hashes() -> None:
    fleet = Fleet(four())
    fleet.standings.observe(Proof("c", takes_hashes=True), fleet.now)
    assert [each.takes_hashes for each in fleet.standings] == [False, False, True, False]
    fleet.standings.observe(Proof("c", takes_hashes=False), fleet.now)
    assert not fleet["c"].takes_hashes
