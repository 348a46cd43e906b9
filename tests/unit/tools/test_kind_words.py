"""The check for words of one kind of chain: what counts, what does not, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.kind_words import Found, complaints, lowered, read, words_in, words_of_tree

HASH = "ab" * 32


def words(source: str) -> list[str]:
    return [found.word for found in words_in(source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('NAME = "eth_call"', ["eth_call"]),
        ("NAME = b'net_version'", ["net_version"]),
        ('NAMES = "web3_sha3 erigon_forks, txpool_"', ["web3_sha3", "erigon_forks", "txpool_"]),
        ('TRACING = ("debug_", "trace_block")', ["debug_", "trace_block"]),
        ('text = f"asked {name} of eth_getLogs: {n}"', ["eth_getLogs"]),
        ("params = b'[\"0x%x\",false]' % n", ["0x"]),
        ('is_hex = text[:2] in ("0x", "0X")', ["0x", "0X"]),
        ('text = f"0x{n:x}"', ["0x"]),
        ('HASH = re.compile(rb"0[xX]([0-9a-fA-F]{64})")', ["0[xX]", "]{64}"]),
        ('HASH = re.compile("[0-9a-f]{64,}")', ["]{64,}"]),
        (f'GENESIS = "{HASH}"', [HASH]),
        (f'GENESIS = "0x{HASH}"', ["0x", HASH]),
    ],
)
def test_words_in_literals_count(source: str, expected: list[str]) -> None:
    assert words(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""What eth_call gives: 0x and digits."""',
        'class A:\n    """Of eth_call."""\n    x = 1\n    """Of 0x."""',
        'def a():\n    "eth_call"\n',
        "x = 1  # eth_call, 0x00",
        "mask = 0xFF & eth_call",
        'field = "trace_id"',
        'path = "/eth_sepolia"',
        'kind = "planet_x 10x20 subnet_mask {64}"',
        f'hash = "{HASH}ab"',
        "sizes = [b'', 64, None, ...]",
    ],
)
def test_other_text_does_not(source: str) -> None:
    assert words(source) == []


def test_lines_are_those_of_the_literals() -> None:
    assert words_in('\n\na = "0x"\nb = "eth_call"\n') == [Found(3, "0x"), Found(4, "eth_call")]


def test_homes_of_kinds_are_left_out(tmp_path: Path) -> None:
    for name in ("chains/evm/a.py", "drills/b.py", "engine/c.py", "engine/chains/d.py", "e.py"):
        path = tmp_path / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('NAME = "eth_call"\n' if name != "e.py" else "x = 1\n")
    assert list(words_of_tree(tmp_path / "house")) == [
        "house/engine/c.py",
        "house/engine/chains/d.py",
    ]


LIST = "# why\n\n  2 a.py\n  1 b.py\n"
ONE, TWO = [Found(1, "0x")], [Found(1, "0x"), Found(7, "eth_call")]


def test_what_the_list_says_is_well() -> None:
    assert read(LIST) == {"a.py": 2, "b.py": 1}
    assert list(complaints({"a.py": TWO, "b.py": ONE}, read(LIST))) == []


def test_more_is_wrong_and_says_where() -> None:
    (line,) = complaints({"a.py": TWO, "b.py": TWO}, read(LIST))
    assert line.startswith(
        "b.py: words of a kind of chain: 2, allowed: 1. 0x (line 1), eth_call (l"
    )
    (line,) = complaints({"a.py": TWO, "b.py": ONE, "new.py": ONE}, read(LIST))
    assert line.startswith("new.py: words of a kind of chain: 1, allowed: 0. 0x (line 1). ")


def test_less_is_wrong_and_says_which_number_to_write() -> None:
    less, none = complaints({"a.py": ONE}, read(LIST))
    assert "lower its number to 1 in tools/kind_words.txt" in less
    assert none.startswith("b.py: words of a kind of chain: 0, listed: 1. ")
    assert "delete its line" in none


def test_the_list_can_be_lowered_and_never_rises() -> None:
    found = {"a.py": ONE, "new.py": TWO, "b.py": TWO}
    assert lowered(LIST, found) == "# why\n\n  1 a.py\n  1 b.py\n"
    assert lowered(LIST, {}) == "# why\n\n"
