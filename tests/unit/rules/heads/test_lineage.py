"""Which block follows which, by what upstreams told."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.messages import Head
from rpcproxy.rules.heads import lineage as module
from rpcproxy.rules.heads.lineage import (
    DEEPEST,
    KEPT_BLOCKS,
    MOST_HEADERS,
    Lineage,
    Parent,
    is_numbered,
    name_of,
)


def block(number: int, branch: str = "", since: int = 0, timestamp: int = 0) -> Head:
    """A block of a branch that left the main one after ``since``."""

    def name(at: int) -> str:
        return f"0x{branch if at > since else ''}{at:x}"

    return Head(number, name(number), name(number - 1), timestamp)


def known(*heads: Head) -> Lineage:
    lineage = Lineage()
    for head in heads:
        lineage.learn(head, "a")
    return lineage


def led_to(number: int, first: int) -> Lineage:
    """Our chain from ``first`` to ``number``, all headers known."""
    lineage = Lineage()
    for at in range(first, number + 1):
        lineage.learn(block(at), "a")
        lineage.extend(block(at))
    return lineage


def test_names() -> None:
    assert name_of(block(5)) == "0x5"
    assert name_of(Head(5)) == "#5"
    assert is_numbered("#5")
    assert not is_numbered("0x5")
    assert not is_numbered("")


# ---- headers


def test_what_lacks_a_hash_is_not_learned() -> None:
    lineage = known(Head(5), Head(5, "0x5"), Head(-1, "0x5", "0x4"))
    assert lineage.parent_of("0x5", 5) == ""
    assert lineage.parent_of("#5", 5) == "#4"


def test_a_hash_has_the_number_that_most_upstreams_told() -> None:
    lineage = known(block(5), Head(6, "0x5", "0xother"))
    lineage.learn(block(5), "b")
    assert lineage.number_of("0x5") == 5
    assert lineage.parent_of("0x5", 5) == "0x4"
    assert lineage.parent_of("0x5", 7) == ""
    # Who tells another number for it is followed by its own words alone.
    assert list(lineage.back(Head(6, "0x5"))) == [(6, "0x5"), (5, "0xother")]


def test_what_more_upstreams_told_counts() -> None:
    lineage = Lineage()
    lineage.learn(Head(5, "0x5", "0xlie"), "liar")
    assert lineage.parent_of("0x5", 5) == "0xlie"
    for name in ("a", "b"):
        lineage.learn(block(5), name)
    for _ in range(5):
        lineage.learn(Head(5, "0x5", "0xlie"), "liar")  # not more by repeating it
    assert lineage.parent_of("0x5", 5) == "0x4"


def test_a_time_that_others_tell_otherwise_is_disputed() -> None:
    lineage = Lineage()
    right, wrong = block(5, timestamp=1000), block(5, timestamp=9000)
    lineage.learn(wrong, "liar")
    assert not lineage.is_time_disputed(wrong, "liar")
    lineage.learn(right, "a")
    assert not lineage.is_time_disputed(wrong, "liar")  # one against one
    lineage.learn(right, "b")
    assert lineage.is_time_disputed(wrong, "liar")
    assert not lineage.is_time_disputed(right, "a")
    assert not lineage.is_time_disputed(block(5), "c")
    assert not lineage.is_time_disputed(block(6, timestamp=5), "c")


def test_a_time_that_one_alone_tells_otherwise_settles_nothing() -> None:
    lineage = Lineage()
    lineage.learn(block(5, timestamp=1000), "a")
    assert not lineage.is_other_time(block(5, timestamp=9000))
    lineage.learn(block(5, timestamp=1000), "b")
    assert lineage.is_other_time(block(5, timestamp=9000))
    assert not lineage.is_other_time(block(5, timestamp=1000))
    assert not lineage.is_other_time(block(5))
    assert not lineage.is_other_time(block(6, timestamp=9000))


# ---- ways back


def test_a_way_back_ends_where_nothing_is_known() -> None:
    lineage = known(block(5), block(4), block(2))
    assert list(lineage.back(block(5))) == [(5, "0x5"), (4, "0x4"), (3, "0x3")]
    assert lineage.path(block(5), 3) == [(5, "0x5"), (4, "0x4")]
    assert lineage.path(block(5), 5) == []
    assert list(known(block(1)).back(block(1))) == [(1, "0x1"), (0, "0x0")]


def test_it_is_no_longer_than_the_deepest() -> None:
    lineage = known(*(block(number) for number in range(1, 300)))
    assert len(list(lineage.back(block(299)))) == DEEPEST + 1
    assert lineage.has(block(299), 299 - DEEPEST, f"0x{299 - DEEPEST:x}") is True
    assert lineage.has(block(299), 298 - DEEPEST, f"0x{298 - DEEPEST:x}") is None


def test_who_has_a_block() -> None:
    lineage = known(block(5), block(4))
    assert lineage.has(block(5), 4, "0x4") is True
    assert lineage.has(block(5), 4, "0xb4") is False
    assert lineage.has(block(5), 6, "0x6") is False
    assert lineage.has(block(5), 2, "0x2") is None
    assert lineage.has(Head(5), 3, "#3") is True
    assert lineage.has(Head(5), 3, "0x3") is False


def test_numbers_are_linked_by_themselves() -> None:
    lineage = Lineage()
    assert lineage.path(Head(5), 2) == [(5, "#5")]
    assert lineage.path(Head(5), 5) == []
    lineage.extend(Head(5))
    assert lineage.meets(Head(9)) == (5, True)
    assert lineage.meets(Head(3)) == (3, True)
    assert lineage.meets(block(5)) is None
    assert lineage.common_ancestor(Head(3)) == 3
    assert lineage.common_ancestor(Head(9)) == 5
    assert lineage.missing(Head(9)) is None
    assert lineage.missing_below(Head(5)) is None
    lineage.extend(Head(7))
    assert (lineage.chain[7], lineage.top) == ("#7", 7)
    lineage.extend(Head(6))
    assert (lineage.top, 7 in lineage.chain) == (6, False)


def test_a_number_says_nothing_of_a_chain_of_hashes() -> None:
    assert led_to(5, 4).meets(Head(5)) is None


# ---- our chain


def test_nothing_meets_an_empty_chain() -> None:
    assert Lineage().meets(block(5)) is None
    assert Lineage().common_ancestor(block(5)) is None


def test_where_a_head_meets_our_chain() -> None:
    lineage = led_to(10, 5)
    assert lineage.meets(block(10)) == (10, True)
    assert lineage.meets(block(7)) == (7, True)
    assert lineage.meets(block(12)) is None  # 11 is not known
    lineage.learn(block(12), "a")
    assert lineage.missing(block(12)) == Parent("0xb", 11)
    lineage.learn(block(11), "a")
    assert lineage.meets(block(12)) == (10, True)
    assert lineage.missing(block(12)) is None
    fork = block(9, "f", 7)
    assert lineage.meets(fork) == (9, False)
    assert lineage.common_ancestor(fork) is None
    lineage.learn(fork, "b")
    lineage.learn(block(8, "f", 7), "b")
    assert lineage.common_ancestor(fork) == 7


def test_a_way_that_leads_too_far_is_not_gone() -> None:
    lineage = led_to(10, 10)
    far = [block(number) for number in range(100, 100 + DEEPEST)]
    for head in far:
        lineage.learn(head, "a")
    assert lineage.missing(far[-2]) == Parent("0x63", 99)
    assert lineage.missing(far[-1]) is None
    assert Lineage().missing(block(0)) is None


def test_a_fork_takes_out_what_it_does_not_follow() -> None:
    lineage = led_to(10, 5)
    for number in (8, 9):
        lineage.learn(block(number, "f", 7), "b")
    lineage.extend(block(9, "f", 7))
    assert lineage.top == 9
    assert [lineage.chain.get(number) for number in (6, 7, 8, 9, 10)] == [
        *("0x6", "0x7", "0xf8", "0xf9"),
        None,
    ]
    assert lineage.bottom == 4


def test_a_jump_begins_a_new_chain() -> None:
    lineage = led_to(10, 5)
    lineage.learn(block(5000), "a")
    lineage.extend(block(5000))
    assert lineage.chain == {5000: "0x1388", 4999: "0x1387"}
    assert (lineage.top, lineage.bottom) == (5000, 4999)


def test_our_chain_is_followed_back() -> None:
    lineage = led_to(100, 100)
    assert lineage.bottom == 99
    assert lineage.missing_below(block(100)) == Parent("0x63", 99)
    for number in (99, 98, 96):
        lineage.learn(block(number), "a")
    lineage.deepen()
    assert lineage.bottom == 97
    assert lineage.missing_below(block(100)) == Parent("0x61", 97)
    for number in range(97, 1, -1):
        lineage.learn(block(number), "a")
    lineage.deepen()
    assert lineage.bottom == 100 - DEEPEST
    assert lineage.missing_below(block(100)) is None


def test_the_first_block_has_no_parent() -> None:
    lineage = led_to(2, 1)
    assert lineage.bottom == 0
    lineage.deepen()
    assert lineage.missing_below(block(2)) is None


# ---- bounds


def test_memory_is_bounded_and_our_chain_stays_known() -> None:
    lineage = Lineage()
    for number in range(1, 3000):
        for branch in ("", "f", "e"):
            lineage.learn(block(number, branch, 0, timestamp=number), "a")
        lineage.extend(block(number))
        assert len(lineage.chain) <= KEPT_BLOCKS + 65
        assert len(lineage._headers) <= MOST_HEADERS
        assert len(lineage._times) <= MOST_HEADERS + 1
    assert lineage.meets(block(2999 - DEEPEST // 2)) == (2999 - DEEPEST // 2, True)
    assert lineage.bottom == min(lineage.chain)
    assert lineage.common_ancestor(block(2999)) == 2999


def test_invented_headers_do_not_push_out_our_own() -> None:
    lineage = led_to(100, 50)
    for number in range(MOST_HEADERS * 2):
        lineage.learn(Head(100, f"0xlie{number}", "0x63"), "liar")
        assert len(lineage._headers) <= MOST_HEADERS
    assert lineage.parent_of("0x64", 100) == "0x63"
    assert lineage.has(block(100), 60, "0x3c") is True


steps = st.tuples(st.integers(-3, 3), st.sampled_from(["", "f", "e"]), st.booleans())


@given(st.lists(steps, max_size=40))
def test_our_chain_is_always_linked(moves: list[tuple[int, str, bool]]) -> None:
    lineage = Lineage()
    number = 50
    for by, branch, is_known in moves:
        number = max(45, number + by)
        head = block(number, branch, 47)
        if is_known:
            for at in range(44, number + 1):
                lineage.learn(block(at, branch, 47), "a")
        lineage.learn(head, "a")
        lineage.extend(head)
        lineage.deepen()
        assert lineage.top == number
        assert lineage.bottom == min(lineage.chain)
        assert sorted(lineage.chain) == list(range(lineage.bottom, number + 1))
        for at in range(lineage.bottom + 1, number + 1):
            parent = lineage.parent_of(lineage.chain[at], at)
            assert parent in ("", lineage.chain[at - 1])


def test_the_bounds_are_as_documented() -> None:
    assert module.DEEPEST < module.KEPT_BLOCKS < module.MOST_HEADERS


# ---- heights without a block


def skipping(*heights: int, branch: str = "") -> list[Head]:
    """Blocks at these heights alone, each the parent of the next."""
    names = [f"0x{branch if at else ''}{height:x}" for at, height in enumerate(heights)]
    pairs = zip(heights[1:], names[1:], names, strict=False)
    return [Head(number, hash, parent) for number, hash, parent in pairs]


def test_a_block_follows_the_one_that_it_names_whatever_the_number() -> None:
    first, second, third = skipping(97, 99, 100, 103)
    lineage = known(first)
    lineage.extend(first)
    for head in (second, third):
        lineage.learn(head, "a")
        assert lineage.has(head, first.number, first.hash)
        assert lineage.meets(head) == (lineage.top, True)
        lineage.extend(head)
    assert lineage.skips
    assert lineage.chain == {99: "0x63", 100: "0x64", 103: "0x67"}  # 97 was only named
    assert lineage.is_hole(101)
    assert lineage.is_hole(102)
    assert not lineage.is_hole(100)
    assert not lineage.is_hole(104)
    assert not lineage.is_hole(50)


def test_blocks_above_a_height_are_counted_without_those_heights() -> None:
    heads = skipping(97, 100, 103, 104)
    lineage = known(*heads)
    lineage.extend(heads[-1])
    assert [lineage.blocks_above(number) for number in (105, 104, 103, 102, 101, 100)] == [
        *(0, 0, 1, 2, 2, 2),
    ]
    assert lineage.blocks_above(20) == 84
    plain = led_to(100, 90)
    assert plain.blocks_above(97) == 3
    assert Lineage().blocks_above(97) == 0


def test_a_block_at_a_height_that_is_ours_without_one_is_not_ours() -> None:
    heads = skipping(97, 99, 100, 103)
    lineage = known(*heads)
    for head in heads:
        lineage.extend(head)
    other = Head(101, "0xother", "0x64")
    lineage.learn(other, "b")
    assert lineage.meets(other) == (101, False)
    assert lineage.common_ancestor(other) == 100
    # Nor is what passes over one of ours.
    over = Head(105, "0xover", "0x64")
    lineage.learn(over, "b")
    assert lineage.meets(over) == (103, False)
    assert lineage.common_ancestor(over) == 100
    assert lineage.has(heads[-1], 101, "0xother") is False


def test_the_number_of_an_untold_parent_is_asked_for() -> None:
    lineage = known(*skipping(97, 99, 102))  # it skips
    for head in skipping(97, 99, 102):
        lineage.extend(head)
    far = Head(110, "0xfar", "0xbetween")
    lineage.learn(far, "a")
    assert lineage.meets(far) is None
    assert lineage.missing(far) == Parent("0xbetween", 109)
    lineage.learn(Head(105, "0xbetween", "0x66"), "a")
    assert lineage.missing(far) is None
    assert lineage.has(far, 102, "0x66")
    assert lineage.path(far, 102) == [(110, "0xfar"), (105, "0xbetween")]


def test_one_upstream_alone_does_not_make_the_chain_skip() -> None:
    lineage = led_to(100, 90)
    lineage.learn(block(100), "b")
    lie = Head(140, "0xlie", "0x64")
    lineage.learn(lie, "liar")
    assert not lineage.skips
    # It is not linked to our chain by that either, nor is one whose parent it renumbers.
    assert lineage.has(lie, 100, "0x64") is None
    assert lineage.meets(lie) is None
    lineage.learn(Head(101, "0xbetween", "0x64"), "liar")
    child = Head(103, "0xchild", "0xbetween")
    lineage.learn(child, "liar")
    assert lineage.has(child, 100, "0x64") is None
    lineage.learn(Head(103, "0xtrue", "0x64"), "b")
    assert lineage.skips


def test_who_tells_the_parent_of_a_lie_has_told_no_gap() -> None:
    lineage = led_to(100, 90)
    lineage.learn(block(100), "b")
    lineage.learn(Head(140, "0xlie", "0x65"), "liar")
    for honest in "ab":
        lineage.learn(block(101), honest)
    assert not lineage.skips


def test_a_gap_has_its_bounds() -> None:
    lineage = led_to(100, 90)
    far = Head(101 + DEEPEST, "0xfar", "0x64")
    lineage.learn(far, "a")
    assert list(lineage.back(far)) == [(far.number, "0xfar")]
    assert lineage.meets(far) is None


def test_what_was_taken_for_the_next_lower_height_finds_its_own() -> None:
    head = Head(100, "0xa", "0xb")
    lineage = known(head)
    lineage.extend(head)
    assert lineage.chain == {100: "0xa", 99: "0xb"}
    lineage.learn(Head(97, "0xb", "0xc"), "a")
    lineage.deepen()
    assert lineage.chain == {100: "0xa", 97: "0xb"}
    assert lineage.bottom == 97
    assert lineage.missing_below(head) == Parent("0xc", 96)


# ---- numbers of parents that are told


def with_parents(*heights: int, branch: str = "") -> list[Head]:
    """The same, each telling its parent's number."""
    return [
        msgspec.structs.replace(head, parent_number=below)
        for head, below in zip(skipping(*heights, branch=branch), heights, strict=False)
    ]


def test_a_parent_number_links_across_skipped_heights_without_a_header() -> None:
    lineage = Lineage(skips=True)
    [head] = with_parents(90, 97)
    lineage.learn(head, "a")
    assert list(lineage.back(head)) == [(97, "0x61"), (90, "0x5a")]
    lineage.extend(head)
    assert (lineage.top, lineage.bottom) == (97, 90)
    assert lineage.is_hole(93)
    assert not lineage.is_hole(90)
    [above] = with_parents(97, 99)
    lineage.learn(above, "a")
    assert lineage.missing(above) is None


def test_without_it_the_header_of_the_parent_is_wanted() -> None:
    lineage = Lineage(skips=True)
    [head] = skipping(90, 97)
    lineage.learn(head, "a")
    assert list(lineage.back(head)) == [(97, "0x61")]
    assert lineage.missing(head) == Parent("0x5a", 96)
    [told] = with_parents(90, 97)
    lineage.learn(told, "b")
    lineage.learn(told, "c")
    assert lineage.missing(head) == Parent("0x5a", 90)


def test_a_parent_number_shows_that_heights_are_skipped() -> None:
    lineage = Lineage()
    for upstream in "ab":
        lineage.learn(with_parents(95, 97)[0], upstream)
    assert lineage.skips


def test_a_parent_that_would_come_later_is_no_claim() -> None:
    lineage = Lineage(skips=True)
    lie = Head(97, "0x61", "0x5a", parent_number=97)
    lineage.learn(lie, "a")
    assert list(lineage.back(lie)) == [(97, "0x61")]


def test_forks_over_skipped_heights_meet_where_they_part() -> None:
    lineage = Lineage(skips=True)
    for head in with_parents(90, 92, 95, 97):
        lineage.learn(head, "a")
        lineage.extend(head)
    other = with_parents(92, 94, 98, branch="f")
    other[0] = msgspec.structs.replace(other[0], parent_hash="0x5c")
    for head in other:
        lineage.learn(head, "b")
    assert lineage.common_ancestor(other[-1]) == 92
    meeting = lineage.meets(other[-1])
    assert meeting is not None
    assert not meeting[1]
