"""What the last blocks say that they hold, and who says otherwise."""

from __future__ import annotations

from rpcproxy.chains.parts.contents import Contents
from rpcproxy.rules.heads.recent_blocks import (
    FALSE_ALARMS,
    MOST_BLOCKS,
    MOST_OTHERS,
    QUIET_SECONDS,
    RecentBlocks,
)

METHOD = "eth_getBlockReceipts"


def block(number: int, transactions: int = 2, bloom: int = 0, uncles: int = -1) -> Contents:
    hashes = tuple(f"0x{index:064x}" for index in range(transactions))
    return Contents(number, f"hash{number}", transactions, uncles, bloom, hashes)


def test_of_two_texts_of_one_block_the_one_that_says_more_is_kept() -> None:
    header = Contents(5, "hash5", bloom=7)
    for texts in ((block(5), header), (header, block(5)), (block(5, 1, 7), block(5, uncles=1))):
        blocks = RecentBlocks()
        for text in texts:
            blocks.learn(text, is_ours=True)
        told = blocks.get("hash5")
        assert told is not None
        assert (told.transactions, told.bloom) == (2, 7)
        assert (len(blocks), blocks.size) == (1, told.size)


def test_the_oldest_go_first() -> None:
    blocks = RecentBlocks()
    for number in range(MOST_BLOCKS + 10):
        blocks.learn(block(number), is_ours=True)
    assert len(blocks) == MOST_BLOCKS
    assert blocks.get("hash9") is None
    assert blocks.get("hash10") is not None
    few = RecentBlocks(most_bytes=5 * block(1).size)
    for number in range(10):
        few.learn(block(number), is_ours=True)
    assert len(few) == 5
    assert few.size == 5 * block(1).size


def test_who_invents_blocks_pushes_out_none_of_ours() -> None:
    blocks = RecentBlocks()
    for number in range(MOST_BLOCKS):
        blocks.learn(block(number), is_ours=True)
    for number in range(1000, 2000):
        blocks.learn(block(number), is_ours=False)
    assert len(blocks) == MOST_BLOCKS + MOST_OTHERS
    assert blocks.get("hash0") is not None
    assert blocks.get("hash1999", is_ours=True) is not None  # it was one of ours to come
    assert blocks.get("hash0") is None
    assert len(blocks) == MOST_BLOCKS + MOST_OTHERS - 1


def test_all_must_say_so_and_one_again() -> None:
    blocks = RecentBlocks()
    said = [
        blocks.is_outvoted(METHOD, "h", upstream, at, "abc")
        for at, upstream in enumerate("abacaab", start=1)
    ]
    assert said == [False, False, False, False, True, True, True]
    assert not blocks.is_outvoted("trace_block", "h", "a", 9.0, "abc")
    assert not blocks.is_outvoted(METHOD, "i", "a", 9.0, "abc")


def test_one_answer_looked_at_twice_is_said_once() -> None:
    blocks = RecentBlocks()
    assert not blocks.is_outvoted(METHOD, "h", "a", 1.0, "a")
    assert not blocks.is_outvoted(METHOD, "h", "a", 1.0, "a")
    assert blocks.is_outvoted(METHOD, "h", "a", 1.5, "a")


def test_where_all_say_so_block_after_block_it_is_left_alone_for_a_while() -> None:
    blocks = RecentBlocks()

    def outvote(hash: str) -> None:
        blocks.is_outvoted(METHOD, hash, "a", 1.0, "a")
        assert blocks.is_outvoted(METHOD, hash, "a", 2.0, "a")

    for hash in map(str, range(FALSE_ALARMS - 1)):
        outvote(hash)
    assert not blocks.is_quiet(METHOD, 3.0)
    blocks.on_agreement(METHOD)
    for hash in "abc"[:FALSE_ALARMS]:
        assert not blocks.is_quiet(METHOD, 3.0)
        outvote(hash)
    assert blocks.is_quiet(METHOD, 1.0 + QUIET_SECONDS)
    assert not blocks.is_quiet(METHOD, 2.0 + QUIET_SECONDS)
    assert not blocks.is_quiet("trace_block", 3.0)


def test_disputes_are_bounded() -> None:
    blocks = RecentBlocks(most_disputes=10)
    for number in range(50):
        blocks.is_outvoted(METHOD, str(number), "a", 1.0, "ab")
    assert len(blocks._disputes) == 10
