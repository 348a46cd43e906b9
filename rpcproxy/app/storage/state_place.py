"""Where a configuration keeps what must outlive its process: a directory of its own in the state
directory, which is one user's.

A configuration is known by the path of its file, by its ``name:``, or, without a file, by the
chains that were named. In its directory a file ``owner`` says which it is.

In older versions all configurations of a user shared one place (``journal/`` and ``history/`` of
the state directory): a configuration takes its chains' journals over from there. So it does from
the place of a configuration whose file is not there any more, where transactions are pending.

No state: whoever asks gets what is on the disk at that moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from rpcproxy.config.model import Config
from rpcproxy.edges.disk.file_lock import make_directory
from rpcproxy.edges.disk.journal import JournalSource

OWNER: Final = "owner"
JOURNALS: Final = "journal"
HISTORY: Final = "history"
SUFFIX: Final = ".sqlite"

SHARED: Final = "the place that all configurations shared"

_SLUG_CHARACTERS: Final = 48
_DIGEST_BYTES: Final = 4
NO_HOME: Final = (
    "there is no place for it: this user has no home directory, and neither STATE_DIRECTORY nor "
    "XDG_STATE_HOME is set"
)
NO_HOME_FOR_TILDE: Final = "there is no home directory for the ~ in this path"


class StateOwner(msgspec.Struct, frozen=True, omit_defaults=True):
    """A configuration. ``file`` is an absolute path, the last one of those with this ``name``;
    ``chains`` were named in place of a file, in alphabetical order.
    """

    name: str = ""
    file: str = ""
    chains: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Config) -> StateOwner:
        if config.name or config.path:
            return cls(config.name, config.path)
        return cls(chains=tuple(sorted(chain.name for chain in config.chains)))

    @property
    def words(self) -> str:
        """Which it is, for people."""
        if not (self.name or self.file or self.chains):
            return SHARED
        if self.name:
            return f"{self.name} ({self.file})" if self.file else self.name
        return self.file or f"`rpcproxy serve {' '.join(self.chains)}`"

    @property
    def directory_name(self) -> str:
        """Readable, and like no other's."""
        if self.name:
            key, told = f"name:{self.name}", self.name
        elif self.file:
            path = Path(self.file)
            key, told = f"file:{self.file}", f"{path.parent.name}-{path.stem}"
        else:
            told = "-".join(self.chains)
            key = f"chains:{told}"
        slug = re.sub(r"[^a-z0-9]+", "-", told.lower()).strip("-")[:_SLUG_CHARACTERS].strip("-")
        digest = hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=_DIGEST_BYTES)
        return f"{slug or 'configuration'}-{digest.hexdigest()}"


@dataclass(frozen=True, slots=True)
class StatePlace:
    """The place of one configuration. ``directory`` is ``None`` where there can be none, and
    ``why`` says so in words. ``base`` is the state directory of the user; ``chains`` are those of
    the configuration.
    """

    owner: StateOwner
    directory: Path | None
    base: Path | None = None
    why: str = ""
    chains: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Config, environ: Mapping[str, str] | None = None) -> StatePlace:
        """Where the configuration has its place, or will have it. Nothing is made."""
        owner = StateOwner.of(config)
        chains = tuple(chain.name for chain in config.chains)
        base = state_directory(os.environ if environ is None else environ)
        if base is None:
            return cls(owner, None, why=NO_HOME, chains=chains)
        own = base / owner.directory_name
        if owner.file and not owner.name and not own.is_dir():
            # The same file by another path, over a link for example.
            for other in places_in(base):
                if not other.owner.name and is_same_file(other.owner.file, owner.file):
                    return replace(other, chains=chains)
        return cls(owner, own, base, chains=chains)

    @property
    def journal_directory(self) -> Path | None:
        return self._below(JOURNALS)

    @property
    def history_directory(self) -> Path | None:
        return self._below(HISTORY)

    def _below(self, name: str) -> Path | None:
        return None if self.directory is None else self.directory / name

    def claim(self) -> str:
        """Make the directory, and say in it whose it is. Returns why that cannot be, or "".
        Touches the disk.
        """
        if self.directory is None:
            return self.why
        file = self.directory / OWNER
        beside = self.directory / f"{OWNER}.{os.getpid()}.new"
        told = msgspec.json.encode(self.owner) + b"\n"
        try:
            make_directory(self.directory)
            with contextlib.suppress(FileNotFoundError):
                if file.read_bytes() == told:
                    return ""
            try:
                beside.write_bytes(told)
                beside.replace(file)
            finally:
                beside.unlink(missing_ok=True)
        except OSError as error:
            return f"{self.directory}: {error.strerror or error}"
        return ""

    # ---- what others have

    def others(self) -> list[StatePlace]:
        """Of the same user."""
        if self.base is None:
            return []
        return [each for each in places_in(self.base) if each.directory != self.directory]

    def is_left_to_us(self, other: StatePlace) -> bool:
        """Whether nobody else will come for what is there: its file is gone, or is ours by now; or
        neither has a file, and both are chains that somebody named.
        """
        theirs, ours = other.owner, self.owner
        if not theirs.file:
            return not theirs.name and not ours.name and not ours.file
        return not Path(theirs.file).exists() or is_same_file(theirs.file, ours.file)

    def journal_sources(self, chain: str, *, is_awaited: bool = False) -> list[JournalSource]:
        """Where else transactions of a chain may be that are ours to go on with. ``is_awaited``:
        whoever has the shared one is about to leave it.
        """
        if self.base is None or self.directory is None:
            return []
        file = f"{chain}{SUFFIX}"
        is_new = not (self.directory / JOURNALS / file).exists()
        shared = self.base / JOURNALS / file
        sources = [JournalSource(shared, SHARED, is_awaited=is_awaited)]
        for other in self.others():
            is_named = bool(self.owner.chains)
            if other.directory and (is_new or is_named) and self.is_left_to_us(other):
                path = other.directory / JOURNALS / file
                sources.append(JournalSource(path, other.owner.words, is_whole=False))
        return sources

    def journals_of_others(self, chain: str) -> list[JournalSource]:
        """Those of configurations that go on to be theirs."""
        return [
            JournalSource(other.directory / JOURNALS / f"{chain}{SUFFIX}", other.owner.words)
            for other in self.others()
            if other.directory is not None and not self.is_left_to_us(other)
        ]


def state_directory(environ: Mapping[str, str] | None = None) -> Path | None:
    """Where a user's configurations keep what must outlive them: as systemd says, else as the XDG
    base directory specification does. ``None`` where the user has no home.
    """
    environ = os.environ if environ is None else environ
    by_systemd = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if by_systemd:
        return Path(by_systemd)
    try:
        return Path(environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "rpcproxy"
    except RuntimeError:
        return None


def places_in(base: Path) -> Iterator[StatePlace]:
    """All that say whose they are, in the order of their names."""
    try:
        found = sorted(base.glob(f"*/{OWNER}"))
    except OSError:
        return
    for file in found:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            owner = msgspec.json.decode(file.read_bytes(), type=StateOwner)
            yield StatePlace(owner, file.parent, base)


def shared_place(base: Path) -> StatePlace:
    """The one that all configurations of a user shared before each had its own."""
    return StatePlace(StateOwner(), base, base)


def expanded(path: str) -> tuple[Path | None, str]:
    """A path of the configuration; ``None`` where there is none, and why."""
    try:
        return Path(path).expanduser(), ""
    except RuntimeError:
        return None, f"{path}: {NO_HOME_FOR_TILDE}"


def is_same_file(one: str, other: str) -> bool:
    if not one or not other:
        return False
    try:
        return Path(one).samefile(other)
    except OSError:
        return False
