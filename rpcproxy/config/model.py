"""The configuration as frozen values. Units are part of the names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rpcproxy.states import URGENT, ChangeKind


class Frozen(BaseModel):
    # Values may hold keys: an error of pydantic's own must not print them.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Address(Frozen):
    """Where to listen. ``host`` is a literal address or a name, ``port`` 0 means any."""

    host: str
    port: int


class Limits(Frozen):
    """What one client may take. Over a limit the answer says so in words.

    ``held_bytes`` of memory for what waits for clients, all together and (``_per_client``) for one
    address.
    """

    header_bytes: int = 16 * 1024
    body_bytes: int = 5 * 1024 * 1024
    batch: int = 1000
    connections: int = 20_000
    held_bytes: int = 256 * 1024 * 1024
    held_bytes_per_client: int = 128 * 1024 * 1024
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 120.0


class Tls(Frozen):
    """TLS towards clients: PEM files."""

    certificate: str
    key: str


class Cache(Frozen):
    """What answers may be kept in: bytes of memory, and of a directory that survives a restart.

    ``memory_bytes`` 0: nothing is kept. ``disk_bytes`` 0: nothing on disk, else ``path`` is set.
    """

    memory_bytes: int = 128 * 1024 * 1024
    disk_bytes: int = 0
    path: str | None = None


class Journal(Frozen):
    """Where transactions are written down before a wallet is told that they are sent.

    ``path`` is a directory, ``None`` for the default one. ``on_failure``: what becomes of a send
    that cannot be written down.
    """

    is_on: bool = True
    path: str | None = None
    on_failure: Literal["refuse", "pass"] = "refuse"


class History(Frozen):
    """Where the figures of the last weeks are kept, for ``rpcproxy report``; ``path`` is a
    directory, ``None`` for the default one.
    """

    is_on: bool = True
    path: str | None = None
    size_bytes: int = 64 * 1024 * 1024


class Notice(Frozen):
    """A webhook and the events it is told of. Its URL holds a secret."""

    url: str = Field(repr=False)
    proxy: str | None = Field(default=None, repr=False)
    events: tuple[ChangeKind, ...] = URGENT


class TraceSettings(Frozen):
    """``url`` of an OpenTelemetry collector (OTLP over HTTP), ``None`` for none. ``params``: those
    of reads that failed or were slow are kept with what is told of them.
    """

    url: str | None = Field(default=None, repr=False)
    params: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_url(cls, given: object) -> object:
        """A URL alone is the collector's."""
        return {"url": given} if given is None or isinstance(given, str) else given


class Server(Frozen):
    """``private_fallback_seconds``: after how long a private transaction goes to public upstreams
    as well, 0 for never.
    """

    listen: Address = Address(host="127.0.0.1", port=8545)
    admin: Address | None = Address(host="127.0.0.1", port=9545)
    tls: Tls | None = None
    gzip: bool = True
    outage_status: Literal[200, 503] = 200
    log: Literal["text", "json"] = "text"
    drain_seconds: float = 10.0
    limits: Limits = Limits()
    cache: Cache = Cache()
    journal: Journal = Journal()
    accept_while_down: bool = False
    private_fallback_seconds: float = 0.0
    accept_single_point: bool = False  # of failure: ``rpcproxy check`` says nothing of it
    admin_token: str | None = Field(default=None, repr=False)
    status_page: str | None = None  # its path on the wallet port
    history: History = History()
    traces: TraceSettings = TraceSettings()


# What becomes of the tag ``latest``: the number of the served head; left as it is, and asked of an
# upstream that has that head; left as it is, and nothing more.
Consistency = Literal["pinned", "routed", "off"]


class Deadlines(Frozen):
    """Total time for one request, by method class."""

    light_seconds: float = 4.5
    heavy_seconds: float = 30.0
    send_seconds: float = 12.0


class ErrorPhrase(Frozen):
    """A phrase our tables do not know. ``verdict`` is a label of ``messages.Verdict``
    (``class`` in the file).
    """

    contains: str
    verdict: str


class Upstream(Frozen):
    """One provider's URL. ``*_guessed`` says that the value is ours, not the user's.

    URLs and headers hold keys and are left out of ``repr``: upstreams are shown by name. ``proxy``
    is the outbound one, ``direct`` for none, ``None`` until the environment was looked at;
    ``ws_proxy`` where another one leads to ``ws_url``.
    """

    name: str
    url: str = Field(repr=False)
    ws_url: str | None = Field(default=None, repr=False)
    provider: str
    provider_guessed: bool = False
    cloud: str = "unknown"
    region: str = "unknown"
    tier: Literal["primary", "backup"] = "primary"
    role: Literal["full", "reads", "sends"] = "full"
    private: bool = False
    rate_limit_per_second: float | None = None
    weight: float = 1.0
    headers: dict[str, str] = Field(default={}, repr=False)
    proxy: str | None = Field(default=None, repr=False)
    ws_proxy: str | None = Field(default=None, repr=False)
    errors: tuple[ErrorPhrase, ...] = ()


class Chain(Frozen):
    """``journal``, ``accept_while_down``, ``private_fallback_seconds`` and ``accept_single_point``
    are ``None`` where the server's are meant. ``genesis_hash``: of block 0, ``None`` where it is
    not checked.
    """

    name: str
    kind: str = "evm"
    chain_id: int
    block_time_seconds: float = 12.0
    max_lag_blocks: int = 2
    selection: Literal["fastest", "ordered", "weighted"] = "fastest"
    deadlines: Deadlines = Deadlines()
    attempt_timeout_seconds: float = 1.5
    hedge: Literal["auto", "off"] | float = "auto"  # a number is a fixed delay in seconds
    consistency: Consistency = "pinned"
    audits_per_hour: float = 0.0  # 0: none
    probes_per_second: float = 4.0  # questions for the head, of each upstream, at most
    journal: Journal | None = None
    accept_while_down: bool | None = None
    private_fallback_seconds: float | None = None
    accept_single_point: bool | None = None
    genesis_hash: str | None = None
    genesis_guessed: bool = False  # it is ours, not the user's
    upstreams: tuple[Upstream, ...]

    @property
    def identity(self) -> str:
        """What tells it from every other chain of its kind, in the spelling of its nodes."""
        return str(self.chain_id)


class Config(Frozen):
    """``warnings`` are sentences for the person who wrote the file. ``name`` says whose state is
    kept where the ``path`` of the file, an absolute one, is not to; both are empty where chains
    were named in place of a file.
    """

    name: str = ""
    path: str = ""
    server: Server = Server()
    chains: tuple[Chain, ...]
    notify: tuple[Notice, ...] = ()
    warnings: tuple[str, ...] = ()


class KindTexts(NamedTuple):
    """How texts of one kind of chain are written. ``genesis`` takes what is to be the hash of its
    first block, and returns it as it is kept, ``None`` where it is none. ``genesis_pattern`` is
    what an editor is told of it, ``genesis_words`` what people are.
    """

    genesis: Callable[[str], str | None]
    genesis_pattern: str
    genesis_words: str


Kinds = Mapping[str, KindTexts]
"""Kinds of chain, by their names."""


class KnownChain(Frozen):
    """What is filled in for a chain that is named and not described. Sources: chains/known.py."""

    name: str
    chain_id: int
    kind: str = "evm"
    block_time_seconds: float
    max_lag_blocks: int
    consistency: Consistency = "pinned"
    aliases: tuple[str, ...] = ()
    public_urls: tuple[str, ...] = ()
    genesis_hash: str | None = None

    @property
    def identity(self) -> str:
        """What tells it from every other chain of its kind, in the spelling of its nodes."""
        return str(self.chain_id)


class Known(Mapping[str, KnownChain]):
    """What is known of chains before any file is read: those that have a name, by it, and the
    ``kinds`` there are.
    """

    def __init__(self, chains: Mapping[str, KnownChain], kinds: Kinds) -> None:
        self._chains = chains
        self.kinds = kinds

    def __getitem__(self, name: str) -> KnownChain:
        return self._chains[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._chains)

    def __len__(self) -> int:
        return len(self._chains)
