"""Rules that are told of a kind of chain, of EVM where nothing else is said: judges of answers, and
standings.
"""

from __future__ import annotations

from collections.abc import Sequence

from rpcproxy.chains.kind import Kind
from rpcproxy.chains.registry import EVM
from rpcproxy.config.model import ErrorPhrase, Upstream
from rpcproxy.rules.answers.classify import Classifier
from rpcproxy.rules.answers.replies import Redact
from rpcproxy.rules.standing.settings import Settings
from rpcproxy.rules.standing.standings import Standings


def classifier(
    phrases: Sequence[ErrorPhrase] = (), redact: Redact = str, kind: Kind = EVM
) -> Classifier:
    return Classifier(kind.errors, phrases, redact)


def standings_of(
    upstreams: Sequence[Upstream], settings: Settings, now: float, kind: Kind = EVM
) -> Standings:
    return Standings(
        upstreams, settings, now, methods=kind.methods, read_range=kind.errors.read_range
    )
