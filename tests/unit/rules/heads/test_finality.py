"""Safe and finalized blocks, and who has which block."""

from __future__ import annotations

from dataclasses import dataclass, field

from rpcproxy.messages import Head
from rpcproxy.rules.heads.finality import Finality
from rpcproxy.rules.heads.head_track import HeadTrack
from rpcproxy.rules.heads.lineage import Lineage
from rpcproxy.rules.heads.support import Vote, blocks_of, votes_of


@dataclass
class Claimant:
    provider: str
    track: HeadTrack = field(default_factory=HeadTrack)
    name: str = ""


def block(number: int, branch: str = "", since: int = 0) -> Head:
    """A block of a branch that left the main one after ``since``."""

    def name(at: int) -> str:
        return f"0x{branch if at > since else ''}{at:x}"

    return Head(number, name(number), name(number - 1))


class World:
    """Claimants of as many providers, one chain up to 100, and what is final on it."""

    def __init__(self, count: int = 4) -> None:
        self.claimants = [Claimant(f"p{i}", name=f"p{i}") for i in range(count)]
        self.lineage = Lineage()
        for number in range(60, 101):
            self.lineage.learn(block(number), "p0")
            self.lineage.extend(block(number))
        self.finality = Finality(("finalized", "safe"))
        self.is_backed = True
        for claimant in self.claimants:
            self.report(claimant, block(100))

    def report(self, claimant: Claimant, head: Head, now: float = 0.0) -> None:
        self.lineage.learn(head, claimant.name)
        claimant.track.report(head, now)

    def votes(self) -> list[Vote]:
        return votes_of(self.claimants, self.lineage)

    def tell(self, *told: tuple[int, int] | None) -> tuple[int, int]:
        """Safe and finalized numbers as each tells them; returns what is settled."""
        for claimant, anchors in zip(self.claimants, told, strict=False):
            if anchors is not None:
                claimant.track.report_anchors((block(anchors[1]), block(anchors[0])))
        return self.settle()

    def settle(self, served: int = 100) -> tuple[int, int]:
        self.finality.settle(
            self.votes(), len(self.claimants), served, self.hash_at, is_backed=self.is_backed
        )
        safe = self.finality.named("safe")
        return (-1 if safe is None else safe.number, self.finality.floor)

    def hash_at(self, number: int) -> str:
        return self.lineage.chain.get(number, "")

    def contradiction(self, index: int = 0) -> str:
        return self.finality.contradiction(self.claimants[index].track, self.hash_at)


# ---- what is settled


def test_nothing_is_final_before_it_is_told() -> None:
    world = World()
    assert world.settle() == (-1, -1)
    assert world.contradiction() == ""


def test_one_voice_among_several_settles_nothing() -> None:
    assert World().tell((96, 90)) == (-1, -1)
    assert World(2).tell((96, 90)) == (96, 90)
    assert World(1).tell((96, 90)) == (96, 90)


def test_it_moves_to_what_most_have_reached() -> None:
    world = World()
    assert world.tell((90, 80), (96, 90)) == (90, 80)
    assert world.tell(None, None, (96, 90)) == (96, 90)
    assert world.tell(None, None, None, (99, 98)) == (96, 90)
    assert world.tell((100, 95), (100, 95)) == (99, 95)


def test_it_never_falls() -> None:
    world = World()
    world.tell(*[(96, 90)] * 4)
    assert world.tell(*[(80, 70)] * 4) == (96, 90)


def test_safe_is_never_below_finalized() -> None:
    world = World()
    for claimant in world.claimants:
        claimant.track.report_anchors((block(90),))
    assert world.settle() == (90, 90)
    assert world.tell(*[(85, 92)] * 4) == (92, 92)


def test_above_the_served_head_nothing_is_final() -> None:
    world = World()
    assert world.tell(*[(120, 110)] * 4) == (-1, -1)


def test_what_is_not_on_our_chain_is_not_final() -> None:
    world = World()
    for claimant in world.claimants:
        claimant.track.report_anchors((block(90, "f", 80), block(96, "f", 80)))
    assert world.settle() == (-1, -1)
    for claimant in world.claimants:
        claimant.track.report_anchors((block(10, "f"), Head(96)))  # not known so far back
    assert world.settle() == (96, 10)


def test_those_on_another_chain_have_no_say() -> None:
    world = World()
    for claimant in world.claimants[:3]:
        claimant.track.report_anchors((block(90), block(96)))
        world.report(claimant, block(100, "f", 99), 1.0)
    assert world.tell(None, None, None, (80, 70)) == (-1, -1)  # one voice


# ---- contradictions


def test_another_block_at_a_final_height_is_a_contradiction() -> None:
    world = World()
    world.tell(*[(96, 90)] * 4)
    track = world.claimants[0].track
    track.report_anchors((block(90, "f", 80),))
    assert world.contradiction() == "its block 90 is not the finalized one"
    track.report_anchors((block(85, "f", 80),))
    assert world.contradiction() == "its block 85 is not the finalized one"
    track.report_anchors((block(89),))
    assert world.contradiction() == ""
    track.report_anchors((Head(88),))
    assert world.contradiction() == ""
    track.report_anchors((block(95, "f", 80),))  # not final with us
    assert world.contradiction() == ""
    assert world.contradiction(1) == ""


def test_a_head_that_fell_below_is_one_and_a_late_one_is_none() -> None:
    world = World()
    world.tell(*[(96, 90)] * 4)
    world.report(world.claimants[0], block(89), 1.0)
    assert world.contradiction() == "its head fell to 89, below the finalized block 90"
    world.claimants[1].track = HeadTrack()
    world.report(world.claimants[1], block(80), 1.0)
    assert world.contradiction(1) == ""
    world.report(world.claimants[1], block(80, "f", 70), 2.0)
    assert world.contradiction(1) == "its block 80 is not the finalized one"
    assert world.finality.contradiction(HeadTrack(), world.hash_at) == ""


# ---- votes


def test_who_has_told_nothing_has_no_vote() -> None:
    world = World(2)
    world.claimants.append(Claimant("new"))
    assert [vote.claimant.provider for vote in world.votes()] == ["p0", "p1"]


def test_a_vote_says_where_it_meets_our_chain() -> None:
    world = World(4)
    a, b, c, d = world.claimants
    world.report(a, block(101))
    world.report(b, block(100, "f", 98), 1.0)
    world.report(c, block(105), 1.0)
    world.report(d, block(70), 1.0)
    votes = world.votes()
    assert [(vote.met_at, vote.is_forked) for vote in votes[:3]] == [
        (100, False),
        (100, True),
        (None, False),
    ]
    assert votes[3].head == block(100)  # the highest, which the latest does not contradict


def test_the_latest_speaks_where_it_contradicts_the_highest() -> None:
    world = World(2)
    a, b = world.claimants
    world.report(a, block(99, "f", 97), 1.0)
    vote = world.votes()[0]
    assert (vote.head, vote.is_forked) == (block(99, "f", 97), True)
    world.report(b, block(5000), 1.0)
    world.report(b, block(100), 2.0)  # far below, but on our chain
    assert world.votes()[1].head == block(5000)
    world.report(b, block(99, "f", 97), 3.0)
    assert world.votes()[1].head == block(99, "f", 97)


def test_blocks_and_who_has_them() -> None:
    world = World(4)
    a, b, c, _ = world.claimants
    for claimant, head in ((a, block(102)), (b, block(101)), (c, block(101, "f", 100))):
        world.report(claimant, head, 1.0)
    blocks = blocks_of(world.votes(), world.lineage, 100)
    assert [(each.number, each.name, sorted(each.providers)) for each in blocks] == [
        (102, "0x66", ["p0"]),
        (101, "0xf65", ["p2"]),
        (101, "0x65", ["p0", "p1"]),
    ]
    assert blocks[0].head(world.lineage) == block(102)
    assert blocks[2].tip == block(102)
    assert blocks[2].head(world.lineage) == block(101)


def test_an_ancestor_that_nobody_stands_at_has_its_hashes_alone() -> None:
    world = World(2)
    for claimant in world.claimants:
        world.lineage.learn(block(101), claimant.name)
        world.report(claimant, block(102), 1.0)
    (_, lower) = blocks_of(world.votes(), world.lineage, 100)
    assert lower.head(world.lineage) == Head(101, "0x65", "0x64")


def test_numbers_stand_for_all_below_them() -> None:
    lineage = Lineage()
    claimants = [Claimant(f"p{i}", name=f"p{i}") for i in range(3)]
    for claimant, number in zip(claimants, (105, 103, 103), strict=True):
        claimant.track.report(Head(number), 0.0)
    blocks = blocks_of(votes_of(claimants, lineage), lineage, 100)
    assert [(each.number, len(each.votes)) for each in blocks] == [(105, 1), (103, 3)]
    assert blocks[1].head(lineage) == Head(103)
    claimants[2].track = HeadTrack()
    assert blocks[0].head(lineage) == Head(105)


# ---- kinds whose blocks are final without a word


def test_final_at_once_where_two_providers_had_it() -> None:
    world = World()
    world.finality = Finality(final_depth=0)
    assert world.settle()[1] == 100
    assert world.finality.final == Head(100, "0x64")
    world.settle(served=99)
    assert world.finality.floor == 100, "it never falls"


def test_final_by_depth() -> None:
    world = World()
    world.finality = Finality(final_depth=6)
    assert world.settle()[1] == 94
    assert world.settle(served=5)[1] == 94


def test_a_lone_claim_makes_nothing_final_by_its_depth() -> None:
    world = World(1)
    world.is_backed = False
    world.finality = Finality(final_depth=0)
    assert world.settle()[1] == -1


def test_what_fewer_than_most_have_come_to_is_not_final_by_its_depth() -> None:
    """Two of four may be wrong together; what is final is never left."""
    world = World()
    world.finality = Finality(final_depth=0)
    for claimant in world.claimants[:2]:
        claimant.track = HeadTrack()
        world.report(claimant, block(99))
    assert world.settle()[1] == -1
    world.report(world.claimants[0], block(100))
    assert world.settle()[1] == 100


def test_where_blocks_are_final_at_once_a_machine_a_block_behind_contradicts_nothing() -> None:
    world = World()
    world.finality = Finality(final_depth=0)
    assert world.settle()[1] == 100
    world.report(world.claimants[0], block(98), 1.0)
    assert world.contradiction() == ""
    world.report(world.claimants[0], block(100, "f", 99), 2.0)
    assert world.contradiction() == "its block 100 is not the finalized one"


def test_before_there_are_so_many_blocks_nothing_is_final() -> None:
    world = World()
    world.finality = Finality(final_depth=6)
    assert world.settle(served=5)[1] == -1


def test_a_kind_may_have_three_settled_blocks() -> None:
    world = World()
    world.finality = Finality(("final", "agreed", "seen"))
    for claimant in world.claimants:
        claimant.track.report_anchors((block(80), None, block(70)))
    world.settle()
    assert world.finality.anchors == (block(80), block(80), block(80))
    kept = world.finality.anchors
    world.settle()
    assert world.finality.anchors is kept
    assert world.finality.named("seen") == block(80)
    assert world.finality.named("safe") is None
