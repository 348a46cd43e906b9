"""``rpcproxy tx``: what people are told of transactions, and what they are told where none can be."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from rpcproxy import cli
from rpcproxy.app.people import tx_view
from rpcproxy.app.people.tx_view import ChainJournal, NoJournal
from rpcproxy.chains.known import KNOWN
from rpcproxy.clock import Clock
from rpcproxy.config.load import load_text
from rpcproxy.config.model import Config
from rpcproxy.edges.disk.journal import DiskJournal, JournalRow
from rpcproxy.rules.sends.journaled import PoolEntry, TransactionState

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
SENDER = "0x" + "5e" * 20
IDENTITY = "evm:1"


def hash_of(number: int) -> str:
    return f"0x{number:064x}"


def row(number: int, state: str = "sent", age_seconds: float = 90.0, **given: object) -> JournalRow:
    said = {"infura": "ok"} if state != "journaled" else {}
    values: dict[str, object] = {"said": said, **given}
    return JournalRow(
        hash_of(number), b"\x02raw", SENDER, number, NOW - age_seconds, state, **values
    )


def write_journal(path: Path, *rows: JournalRow, identity: str = IDENTITY) -> Path:
    async def write() -> None:
        journal = await DiskJournal.open(path, identity, clock=lambda: NOW - 5)
        try:
            for each in rows:
                await journal.add(each)
        finally:
            await journal.close()

    asyncio.run(write())
    return path


def run(*arguments: str) -> int:
    try:
        return cli.main(["tx", *arguments], clock=Clock(lambda: NOW, lambda: NOW))
    except SystemExit as left:  # argparse's way
        return int(left.code or 0)


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    """A directory with two chains."""
    directory = tmp_path / "journal"
    write_journal(
        directory / "ethereum.sqlite",
        row(1, "final", 7200.0, block=100, updated=NOW - 60),
        row(2, "sent", 90.0, said={"infura": "ok", "drpc": "already_known"}),
        row(3, "journaled", 3.0, is_private=True),
    )
    write_journal(
        directory / "base.sqlite",
        row(4, "mined", 30.0, block=7),
        row(5, "refused", 200_000.0, updated=NOW - 60),
    )
    return directory


# --------------------------------------------------------------------------
# Words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3.0, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60.0, "1 min"),
        (3599.0, "59 min"),
        (3600.0, "1 h"),
        (3600.0 + 5 * 60, "1 h 5 min"),
        (86_399.0, "23 h 59 min"),
        (86_400.0, "1 day"),
        (5.5 * 86_400, "5 days"),
    ],
)
def test_ages_in_words(seconds: float, words: str) -> None:
    assert tx_view.age_words(seconds) == words


def test_a_row_and_what_is_unknown_of_it() -> None:
    entry = tx_view.entry_of_row("ethereum", row(2, updated=NOW - 1), NOW)
    assert entry == {
        "hash": hash_of(2),
        "chain": "ethereum",
        "state": "sent",
        "created": "2027-01-15T07:58:30.000Z",
        "age_seconds": 90.0,
        "updated": "2027-01-15T07:59:59.000Z",
        "sender": SENDER,
        "nonce": 2,
        "block": None,
        "private": False,
        "size_bytes": 4,
        "upstreams": {"infura": "ok"},
    }
    foreign = JournalRow(hash_of(1), b"x", "", -1, NOW + 60, "mined", 0)
    entry = tx_view.entry_of_row("ethereum", foreign, NOW)
    assert (entry["sender"], entry["nonce"], entry["block"]) == (None, None, 0)
    assert (entry["age_seconds"], entry["updated"]) == (0.0, None)  # a clock that was put right


def test_an_entry_of_the_pool_is_told_as_its_row_would_be() -> None:
    entry = PoolEntry(hash_of(2), SENDER, 2, b"\x02raw", NOW - 90, state=TransactionState.SENT)
    entry.said["infura"] = "ok"
    told = tx_view.entry_of_pool("ethereum", entry, NOW)
    assert told == tx_view.entry_of_row("ethereum", row(2), NOW)
    entry.said["drpc"] = "ok"
    assert told["upstreams"] == {"infura": "ok"}  # it is not read while it changes


def test_a_table_has_one_line_each() -> None:
    entries = [
        tx_view.entry_of_row("ethereum", row(2), NOW),
        tx_view.entry_of_row(
            "a", JournalRow(hash_of(1), b"x", "", -1, NOW - 7300, "journaled", 8), NOW
        ),
    ]
    head, *lines = tx_view.table(entries)
    assert lines == [
        f"sent       1 min      ethereum  {hash_of(2)}  {SENDER}  2        -",
        f"journaled  2 h 1 min  a         {hash_of(1)}  unknown{' ' * 37}unknown  8",
    ]
    names = ("age", "chain", "hash", "sender", "nonce", "block")
    cells = ("1 min", "ethereum", hash_of(2), SENDER, "2   ", "-")
    assert [head.index(name) for name in names] == [lines[0].rindex(cell) for cell in cells]
    assert tx_view.table([]) == []
    assert tx_view.table(entries, 200) == [head, *lines]
    assert tx_view.table(entries, 80) == [
        "state      age        chain     nonce    block",
        "sent       1 min      ethereum  2        -",
        f"  hash    {hash_of(2)}",
        f"  sender  {SENDER}",
        "journaled  2 h 1 min  a         unknown  8",
        f"  hash    {hash_of(1)}",
        "  sender  unknown",
    ]


@pytest.mark.parametrize("state", TransactionState)
def test_every_state_is_explained(state: TransactionState) -> None:
    told = "\n".join(tx_view.details(tx_view.entry_of_row("ethereum", row(1, state.value), NOW)))
    assert f"{state.value}: " in told


def test_details_tell_everything() -> None:
    known = row(2, said={"infura": "ok", "": "ok", "drpc": "nonce_too_low"}, is_private=True)
    assert tx_view.details(tx_view.entry_of_row("ethereum", known, NOW)) == [
        f"transaction     {hash_of(2)}",
        "chain           ethereum",
        "state           sent: an upstream has taken it, and it waits for its block",
        "arrived         2027-01-15T07:58:30.000Z, 1 min ago",
        "last news       none",
        f"sender          {SENDER}",
        "nonce           2",
        "block           none yet",
        "private         yes",
        "size            4 bytes",
        "upstreams said  infura: ok",
        "                one of them: ok",
        "                drpc: nonce_too_low",
    ]


def test_nothing_that_a_terminal_obeys_is_written() -> None:
    entry = tx_view.entry_of_row("a\x1b[2Jb\udcffé", row(2), NOW)
    assert "a\\x1b[2Jb\\udcff\\xe9" in tx_view.table([entry])[1]
    assert "chain           a\\x1b[2Jb\\udcff\\xe9" in tx_view.details(entry)
    assert json.loads(tx_view.json_line(entry)) == entry
    assert tx_view.json_line(entry).isascii()


# --------------------------------------------------------------------------
# Where journals are


def config_of(text: str) -> Config:
    return load_text(text, file="f.yaml", known=KNOWN, environ={})


CHAINS = """
chains:
  - {name: ethereum, upstreams: [https://a.com, https://b.com]}
  - {name: base, journal: %s, upstreams: [https://a.com, https://b.com]}
"""


def test_places_of_a_configuration() -> None:
    config = config_of("server: {journal: /j}" + CHAINS % "{path: /k}")
    ethereum, base = (
        ChainJournal("ethereum", Path("/j/ethereum.sqlite")),
        ChainJournal("base", Path("/k/base.sqlite")),
    )
    assert tx_view.places_of(config=config) == [ethereum, base]
    assert tx_view.places_of(config=config, chain="base") == [base]
    with pytest.raises(NoJournal, match="no chain 'bse', but ethereum, base"):
        tx_view.places_of(config=config, chain="bse")


def test_a_chain_without_a_journal_is_left_out() -> None:
    config = config_of("server: {journal: /j}" + CHAINS % "off")
    assert [place.chain for place in tx_view.places_of(config=config)] == ["ethereum"]
    with pytest.raises(NoJournal, match="the journal is off for base: no transaction"):
        tx_view.places_of(config=config, chain="base")


def test_places_in_a_directory(tmp_path: Path) -> None:
    for name in ("b.sqlite", "a.sqlite", "a.sqlite-wal", "a.sqlite.lock", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "c.sqlite").mkdir()
    a, b = ChainJournal("a", tmp_path / "a.sqlite"), ChainJournal("b", tmp_path / "b.sqlite")
    assert tx_view.places_of(path=str(tmp_path)) == [a, b]
    assert tx_view.places_of(path=str(tmp_path), chain="b") == [b]
    with pytest.raises(NoJournal, match=r"no journal of chain 'c' at .*, but of a, b"):
        tx_view.places_of(path=str(tmp_path), chain="c")


def test_a_file_by_its_name(tmp_path: Path) -> None:
    aside = tmp_path / "base.sqlite.damaged-20270115T080000Z-1"
    aside.touch()
    assert tx_view.places_of(path=str(aside)) == [ChainJournal("base", aside)]


def test_the_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(NoJournal, match=r"there is no journal at .*; a proxy that runs as a serv"):
        tx_view.places_of()
    path = tmp_path / "rpcproxy" / "journal" / "base.sqlite"
    path.parent.mkdir(parents=True)
    path.touch()
    assert tx_view.places_of() == [ChainJournal("base", path)]
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path / 'service'}:/other")
    with pytest.raises(NoJournal, match="service/journal"):
        tx_view.places_of()


def test_what_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(NoJournal, match="cannot be read: Permission denied"):
        tx_view.places_of(path=str(tmp_path))


# --------------------------------------------------------------------------
# list


def test_the_list_begins_with_the_newest(
    journals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list", "--journal", str(journals)) == 0
    out, err = capsys.readouterr()
    head, *lines = [line.split() for line in out.splitlines()]
    assert head == ["state", "age", "chain", "hash", "sender", "nonce", "block"]
    assert lines == [
        ["journaled", "3", "s", "ethereum", hash_of(3), SENDER, "3", "-"],
        ["mined", "30", "s", "base", hash_of(4), SENDER, "4", "7"],
        ["sent", "1", "min", "ethereum", hash_of(2), SENDER, "2", "-"],
        ["final", "2", "h", "ethereum", hash_of(1), SENDER, "1", "100"],
        ["refused", "2", "days", "base", hash_of(5), SENDER, "5", "-"],
    ]
    assert err == ""


def test_the_pending_ones_alone(journals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--pending", "--json", "--journal", str(journals)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["journaled", "sent"]
    assert run("list", "--pending", "--journal", str(journals), "--chain", "base") == 0
    assert capsys.readouterr() == ("", "no pending transactions\n")


def test_at_most_so_many(journals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--limit", "2", "--json", "--journal", str(journals)) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["hash"] for line in out.splitlines()] == [hash_of(3), hash_of(4)]
    assert err == "the newest 2 of 5: --limit N shows more\n"


def test_fifty_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_journal(tmp_path / "base.sqlite", *(row(n, age_seconds=n) for n in range(51)))
    assert run("list", "--json", "--journal", str(path)) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["nonce"] for line in out.splitlines()] == list(range(50))
    assert err.startswith("the newest 50 of 51")
    assert run("list", "--limit", "99", "--journal", str(path)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 52


def test_the_list_fits_a_narrow_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_journal(tmp_path / "base.sqlite", row(1), row(2))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run("list", "--journal", str(path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == 7


def test_an_empty_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_journal(tmp_path / "base.sqlite")
    assert run("list", "--journal", str(path)) == 0
    assert capsys.readouterr() == ("", "no transactions\n")


def test_journals_of_a_configuration(
    journals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(f"server: {{journal: {journals}}}" + CHAINS % "off")
    assert run("list", "-c", str(file), "--json") == 0
    chains = {json.loads(line)["chain"] for line in capsys.readouterr().out.splitlines()}
    assert chains == {"ethereum"}
    assert run("list", "-c", str(tmp_path / "none.yaml")) == 2
    assert capsys.readouterr() == ("", f"{tmp_path / 'none.yaml'}: no such file\n")


def test_a_chain_that_was_not_served_so_far(
    journals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(f"server: {{journal: {journals}}}" + CHAINS % tmp_path)
    assert run("list", "-c", str(file), "--json") == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert err == f"there is no journal of base at {tmp_path / 'base.sqlite'}\n"
    assert run("list", "-c", str(file), "--chain", "base") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "there is no journal of base" in err
    assert "--journal" in err


# --------------------------------------------------------------------------
# show


def test_one_in_words_and_in_json(journals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shouted = "0X" + hash_of(2)[2:].upper()
    assert run("show", shouted, "--journal", str(journals)) == 0
    out, err = capsys.readouterr()
    assert f"transaction     {hash_of(2)}\n" in out
    assert "                drpc: already_known\n" in out
    assert err == ""
    assert run("show", hash_of(2), "--json", "--journal", str(journals)) == 0
    entry = json.loads(capsys.readouterr().out)
    assert entry["upstreams"] == {"infura": "ok", "drpc": "already_known"}
    assert entry["age_seconds"] == 90.0


def test_one_that_two_chains_have(journals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_journal(journals / "base.sqlite", row(2, "mined", block=9))
    assert run("show", hash_of(2), "--journal", str(journals)) == 0
    base, ethereum = capsys.readouterr().out.split("\n\n")
    assert "chain           base\n" in base
    assert "chain           ethereum\n" in ethereum
    assert run("show", hash_of(2), "--json", "--journal", str(journals)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_one_that_is_not_there(journals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", hash_of(9), "--journal", str(journals)) == 1
    words = f"transaction {hash_of(9)} is not in the journal of base, ethereum\n"
    assert capsys.readouterr() == ("", words)


# --------------------------------------------------------------------------
# What goes wrong is said in words


@pytest.mark.parametrize("text", ["abc", "0x", "0x" + "1" * 63, "0x" + "g" * 64, "1" * 64, ""])
def test_a_malformed_hash(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", text) == 2
    err = capsys.readouterr().err
    assert f"{text!r} is no hash of a transaction; expected 0x and 64" in err


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "²", "9" * 30, ""])
def test_a_malformed_limit(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--limit", text) == 2
    assert f"{text!r} is no whole number above 0" in capsys.readouterr().err


def test_no_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["list"], ["show", hash_of(1)]):
        assert run(*arguments, "--journal", str(tmp_path / "none")) == 2
        assert capsys.readouterr() == ("", f"there is no journal at {tmp_path / 'none'}\n")
        assert run(*arguments) == 2  # nor in the default directory
        assert "there is no journal at " in capsys.readouterr().err


def test_two_ways_to_say_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "-c", "f.yaml", "--journal", "j") == 2
    assert "not allowed with argument" in capsys.readouterr().err


def foreign_file(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE theirs (a)")
    database.close()


def text_file(path: Path) -> None:
    path.write_text("no database at all " * 100)


@pytest.mark.parametrize("spoil", [foreign_file, text_file])
def test_a_file_that_is_no_journal(
    spoil, journals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the others have is shown all the same."""
    spoil(journals / "cache.sqlite")
    before = (journals / "cache.sqlite").read_bytes()
    assert run("list", "--json", "--journal", str(journals)) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 5
    assert str(journals / "cache.sqlite") in err
    assert len(err.splitlines()) == 1
    assert run("show", hash_of(2), "--journal", str(journals)) == 0
    assert capsys.readouterr().out != ""
    assert run("show", hash_of(9), "--journal", str(journals)) == 2  # it may be in that one
    assert "is not in the journal" in capsys.readouterr().err
    assert (journals / "cache.sqlite").read_bytes() == before


def test_reading_changes_nothing(journals: Path) -> None:
    def everything() -> dict[str, tuple[bytes, int]]:
        return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in journals.iterdir()}

    before = everything()
    assert run("list", "--journal", str(journals)) == 0
    assert run("show", hash_of(1), "--journal", str(journals)) == 0
    assert everything() == before


def test_beside_a_journal_that_is_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "base.sqlite"

    async def beside() -> None:
        journal = await DiskJournal.open(path, IDENTITY, clock=lambda: NOW - 5)
        try:
            await journal.add(row(1, "journaled"))
            assert await asyncio.to_thread(run, "list", "--json", "--journal", str(path)) == 0
            await journal.settle(hash_of(1), "mined", 12, {"infura": "ok"})
            arguments = ("show", hash_of(1), "--json", "--journal", str(path))
            assert await asyncio.to_thread(run, *arguments) == 0
        finally:
            await journal.close()

    asyncio.run(beside())
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["state"], first["block"], first["upstreams"]) == ("journaled", None, {})
    assert (second["state"], second["block"]) == ("mined", 12)
    assert second["updated"] == "2027-01-15T07:59:55.000Z"


def test_a_reader_who_has_seen_enough(journals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ``rpcproxy tx list | head -1``."""
    read, write = os.pipe()
    os.close(read)
    with io.TextIOWrapper(io.FileIO(write, "w"), line_buffering=True) as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert run("list", "--journal", str(journals)) == 0
