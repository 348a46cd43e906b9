"""The door of the configuration: a file, a text or names in, a ``Config`` or one error out.

Every problem found is told at once, each with file and line. Nothing of YAML's or pydantic's own
errors reaches a person, and no secret reaches a message.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from rpcproxy.config.keys.sections import TOP, homes
from rpcproxy.config.keys.server_keys import SERVER
from rpcproxy.config.model import Config, Known, KnownChain, Server
from rpcproxy.config.outbound import through
from rpcproxy.config.problems import ConfigError, Report, Reported, Unfit, listed, nearest, quoted
from rpcproxy.config.providers import Keyed, keyed
from rpcproxy.config.reading.environment import forgotten_braces
from rpcproxy.config.reading.read_chain import chain_without_file
from rpcproxy.config.reading.read_server import server as read_server
from rpcproxy.config.reading.reading import Reading, described
from rpcproxy.config.reading.source import (
    LARGEST_TEXT,
    Items,
    Node,
    Scalar,
    Table,
    TableEntry,
    parse,
)

__all__ = ["ConfigError", "from_names", "load_admin", "load_file", "load_text"]

_HOMES: Final = homes()
NOWHERE: Final[Mapping[str, str]] = {}
_FILE_ENDINGS: Final = (".yaml", ".yml", ".json")


def load_file(path: str | Path, known: Known, environ: Mapping[str, str]) -> Config:
    """Read a YAML file, UTF-8. Raises ``ConfigError``."""
    config = load_text(_text_of(path), file=str(path), known=known, environ=environ)
    # Links are left as they are: behind that of a ConfigMap is another directory each time.
    return config.model_copy(update={"path": os.path.abspath(path)})  # noqa: PTH100


def load_admin(
    path: str | Path, known: Known, environ: Mapping[str, str], *, has_token: bool
) -> Server:
    """The admin port that a file names and, where it ``has_token``, the token that it asks for.
    Nothing else is read: whoever talks to a running proxy needs none of its other secrets here.
    Raises ``ConfigError``.
    """
    report = Report(str(path))
    root = parse(_text_of(path), str(path), report)
    wanted = ("admin", "admin_token") if has_token else ("admin",)
    section = replace(SERVER, rows=tuple(row for row in SERVER.rows if row.name in wanted))
    entry = root.entries.get("server") if isinstance(root, Table) else None
    found: dict[str, object] = {}
    if entry is not None and isinstance(entry.node, Table):
        kept = {key: each for key, each in entry.node.entries.items() if key in wanted}
        reading = Reading(report, environ, {}, _HOMES, known.kinds)
        found = reading.values(Table(entry.node.line, kept), section)
    if report.has_problems:
        raise report.error()
    return Server.model_validate(found)


def _text_of(path: str | Path) -> str:
    file = str(path)
    try:
        with Path(path).open("rb") as source:
            raw = source.read(LARGEST_TEXT * 4 + 1)
    except FileNotFoundError:
        raise ConfigError([f"{file}: no such file"]) from None
    except IsADirectoryError:
        raise ConfigError([f"{file}: is a directory; expected a file"]) from None
    except PermissionError:
        raise ConfigError([f"{file}: may not be read by this user"]) from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "bad path"
        raise ConfigError([f"{file}: cannot be read: {reason}"]) from None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{file}:{line}: not UTF-8 text; expected UTF-8"]) from None


def load_text(text: str, *, file: str, known: Known, environ: Mapping[str, str]) -> Config:
    """Read YAML. ``file`` is the name in messages. Raises ``ConfigError``."""
    report = Report(file)
    root = parse(text, file, report)
    if root is None or (isinstance(root, Scalar) and root.kind == "empty"):
        raise ConfigError([f"{file}: empty; expected chains, each with name and upstreams"])
    reading = Reading(report, environ, by_any_name(known), _HOMES, known.kinds)
    if not isinstance(root, Table):
        report.problem(root.line, f"the file is {described(root)}; expected a mapping with chains")
        raise report.error()
    _warn_of_forgotten_braces(root, reading)
    # x-…: a place for anchors, as in Compose files
    entries = {key: entry for key, entry in root.entries.items() if not key.startswith("x-")}
    try:
        values = reading.values(Table(root.line, entries), TOP)
    except (Reported, Unfit):
        raise report.error() from None
    if report.has_problems:
        raise report.error()
    config = Config.model_validate(values | {"warnings": report.warnings()})
    try:
        return through(config, environ)
    except Unfit as unfit:
        raise ConfigError([unfit.about("outbound proxy:")]) from None


def from_names(
    names: Iterable[str],
    known: Known,
    environ: Mapping[str, str],
    places: Mapping[str, str] = NOWHERE,
) -> Config:
    """Known chains, by name or id, in the order given, on the providers whose keys are in the
    environment (``providers``), and on their shipped public endpoints, which are backups of those.
    ``places``: ``listen`` and ``admin`` of the server, where they are not the usual ones.

    Raises ``ConfigError`` for a name that is not known, given twice, or has no endpoint, for
    a key that cannot be one, and for a place that is none.
    """
    every = by_any_name(known) | {chain.identity: chain for chain in known.values()}
    found: dict[str, KnownChain] = {}
    problems: list[str] = []
    for name in names:
        chain = every.get(name.casefold())
        if chain is None:
            problems.append(unknown_chain(name, known))
        elif chain.name in found:
            problems.append(f"chain {quoted(name)} is named twice")
        else:
            found[chain.name] = chain
    if not found and not problems:
        problems.append("no chain named; expected names such as ethereum or base")
    by_chain: dict[str, list[Keyed]] = {name: [] for name in found}
    try:
        for entry in keyed(tuple(found), environ):
            by_chain[entry.chain].append(entry)
    except Unfit as unfit:
        problems.append(unfit.wrong)
    problems += [
        f"chain {quoted(name)} has no public endpoints shipped, and no key for it is in the "
        "environment; expected a configuration file with upstreams (-c FILE)"
        for name, chain in found.items()
        if not chain.public_urls and not by_chain[name]
    ]
    if problems:
        raise ConfigError(problems)
    chains = (chain_without_file(chain, by_chain[name]) for name, chain in found.items())
    server, warnings = _placed(places, known)
    try:
        return through(Config(server=server, chains=tuple(chains), warnings=warnings), environ)
    except Unfit as unfit:
        raise ConfigError([unfit.about("outbound proxy:")]) from None


def _placed(places: Mapping[str, str], known: Known) -> tuple[Server, tuple[str, ...]]:
    """The server whose ports are there, and warnings. Raises ``ConfigError``."""
    report = Report("the options")
    entries = {
        f"--{key}": TableEntry(0, Scalar(0, text, "text", text)) for key, text in places.items()
    }
    rows = (replace(row, name=f"--{row.name}") for row in SERVER.rows)
    section = replace(
        SERVER, rows=tuple(row for row in rows if row.name in ("--listen", "--admin"))
    )
    reading = Reading(report, {}, {}, _HOMES, known.kinds)
    try:
        server = read_server(section)(Table(0, entries), reading)
    except Reported:
        raise report.error() from None
    if report.has_problems:
        raise report.error()
    return server, report.warnings()


def unknown_chain(name: str, known: Mapping[str, KnownChain]) -> str:
    """What to say of a name that no known chain has."""
    if name.casefold().endswith(_FILE_ENDINGS) or "/" in name:
        return f"{quoted(name)} is no name of a chain; did you mean -c {name}?"
    meant = nearest(name, by_any_name(known))
    if meant:
        return f"chain {quoted(name)} is not known; did you mean '{meant}'?"
    if not name.isdecimal():
        return f"chain {quoted(name)} is not known"
    return (
        f"no known chain has the id {name}; known are {listed(known, 'and')}. Any other one "
        "goes into a configuration file: rpcproxy init writes one"
    )


def by_any_name(known: Mapping[str, KnownChain]) -> dict[str, KnownChain]:
    """Known chains by name and alias, in lower case."""
    aliases = {alias.casefold(): chain for chain in known.values() for alias in chain.aliases}
    return aliases | {chain.name.casefold(): chain for chain in known.values()}


def _warn_of_forgotten_braces(root: Node, reading: Reading) -> None:
    waiting: list[Node] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Items):
            waiting.extend(node.items)
        elif isinstance(node, Table):
            waiting.extend(entry.node for entry in node.entries.values())
        else:
            name = forgotten_braces(node.written, reading.environ)
            if name:
                reading.report.warn(
                    node.line, f"${name} is left as it is; write ${{{name}}} for its value"
                )
