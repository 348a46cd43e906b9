"""Rules that are told of a kind of chain, for EVM: judges of answers, and standings."""

from __future__ import annotations

from collections.abc import Sequence

from rpcproxy.chains.registry import EVM
from rpcproxy.config.model import ErrorPhrase, Upstream
from rpcproxy.rules.answers.classify import Classifier
from rpcproxy.rules.answers.replies import Redact
from rpcproxy.rules.standing.standings import Settings, Standings


def classifier(phrases: Sequence[ErrorPhrase] = (), redact: Redact = str) -> Classifier:
    return Classifier(EVM.errors, phrases, redact)


def standings_of(upstreams: Sequence[Upstream], settings: Settings, now: float) -> Standings:
    return Standings(
        upstreams, settings, now, methods=EVM.methods, read_range=EVM.errors.read_range
    )
