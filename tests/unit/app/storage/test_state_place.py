"""``app.storage.state_place``: whose state is where, and what of others' is ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from rpcproxy.app.storage.state_place import (
    StateOwner,
    StatePlace,
    expanded,
    places_in,
    state_directory,
)
from rpcproxy.config.model import Chain, Config
from tests.unit.edges.disk.test_journal_file import row, written


def config(path: Path | None = None, name: str = "", chains: str = "ethereum") -> Config:
    some = tuple(Chain(name=each, chain_id=1, upstreams=()) for each in chains.split())
    return Config(chains=some, name=name, path="" if path is None else str(path))


def place(found: Config) -> StatePlace:
    where = StatePlace.of(found)
    assert where.claim() == ""
    return where


def file(tmp_path: Path, name: str = "a.yaml") -> Path:
    path = tmp_path / "etc" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("chains: []\n")
    return path


def journal(where: StatePlace) -> Path:
    assert where.journal_directory is not None
    return where.journal_directory / "ethereum.sqlite"


def test_each_configuration_has_its_own(tmp_path: Path) -> None:
    found = [
        config(file(tmp_path)),
        config(file(tmp_path, "b.yaml")),
        config(file(tmp_path), name="prod"),
        config(chains="ethereum"),
        config(chains="base ethereum"),
    ]
    places = [place(each) for each in found]
    assert len({each.directory for each in places}) == 5
    base = state_directory()
    assert base is not None
    assert {each.owner.words for each in places_in(base)} == {
        str(file(tmp_path)),
        str(file(tmp_path, "b.yaml")),
        f"prod ({file(tmp_path)})",
        "`rpcproxy serve ethereum`",
        "`rpcproxy serve base ethereum`",
    }
    names = [each.directory.name.rpartition("-")[0] for each in places if each.directory]
    assert names == ["etc-a", "etc-b", "prod", "ethereum", "base-ethereum"]
    assert StatePlace.of(config(chains="ethereum base")).directory == places[4].directory
    assert StatePlace.of(config(file(tmp_path, "b.yaml"), name="prod")).directory == (
        places[2].directory
    )


def test_a_file_over_a_link_is_the_same(tmp_path: Path) -> None:
    path = file(tmp_path)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    first = place(config(path))
    assert StatePlace.of(config(link)).directory == first.directory
    assert StatePlace.of(config(link), {"XDG_STATE_HOME": str(tmp_path)}).directory != (
        first.directory
    )


def test_a_name_is_never_more_than_a_name(tmp_path: Path) -> None:
    odd = StateOwner(name="../../Etc/\udcff\0 Ünder" * 9).directory_name
    assert "/" not in odd
    assert len(odd) < 64
    assert StateOwner(name="…").directory_name.startswith("configuration-")
    assert place(config(name="../x")).directory is not None


def test_without_a_home_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(self: Path) -> Path:
        if str(self).startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return self

    monkeypatch.setattr(Path, "expanduser", homeless)
    nowhere = StatePlace.of(config(), {})
    assert (nowhere.directory, nowhere.journal_directory) == (None,) * 2
    assert "no home directory" in nowhere.why
    assert nowhere.claim() == nowhere.why
    assert nowhere.others() == nowhere.journal_sources("ethereum") == []
    assert expanded("~/x")[0] is None
    assert expanded("/x") == (Path("/x"), "")
    somewhere = StatePlace.of(config(), {"STATE_DIRECTORY": "/var/lib/x:/y"})
    assert somewhere.base == Path("/var/lib/x")


def test_what_cannot_be_claimed_is_said(tmp_path: Path) -> None:
    (tmp_path / "rpcproxy").write_text("in the way")
    where = StatePlace.of(config(), {"XDG_STATE_HOME": str(tmp_path)})
    assert "directory" in where.claim()


def test_what_is_left_to_us(tmp_path: Path) -> None:
    gone, here, ours = (file(tmp_path, f"{name}.yaml") for name in ("gone", "here", "ours"))
    old, other = place(config(gone)), place(config(here))
    named = place(config(chains="ethereum"))
    for where in (old, other, named):
        written(journal(where), [row(1)])
    gone.unlink()
    mine = place(config(ours))
    sources = {each.path: each for each in mine.journal_sources("ethereum")}
    shared = mine.base / "journal" / "ethereum.sqlite"  # type: ignore[operator]
    assert set(sources) == {shared, journal(old)}
    assert sources[shared].is_whole
    assert not sources[journal(old)].is_whole
    assert {each.path for each in mine.journals_of_others("ethereum")} == {
        journal(other),
        journal(named),
    }
    # One that has a journal of its own is not new any more.
    written(journal(mine), [row(2)])
    assert [each.path for each in mine.journal_sources("ethereum")] == [shared]
    # Chains that somebody named have no file that could be gone: they go on with one another.
    both = place(config(chains="base ethereum"))
    assert journal(named) in {each.path for each in both.journal_sources("ethereum")}
    # A file that has got a name goes on with what it had.
    renamed = place(config(here, name="prod"))
    assert journal(other) in {each.path for each in renamed.journal_sources("ethereum")}
