"""Which kind each chain is of. The one place that knows all kinds. Pure."""

from __future__ import annotations

from typing import Final

from rpcproxy.chains.evm.compare import EVM_COMPARISON
from rpcproxy.chains.evm.entries import BLOCK_TEXTS
from rpcproxy.chains.evm.errors import EVM_ERRORS
from rpcproxy.chains.evm.feed import NEW_HEADS
from rpcproxy.chains.evm.genesis_text import EVM_TEXTS
from rpcproxy.chains.evm.joins import EVM_SEARCHES
from rpcproxy.chains.evm.methods import EVM_METHODS
from rpcproxy.chains.evm.naming import EVM_CLAIMS
from rpcproxy.chains.evm.own_words import OWN_WORDS
from rpcproxy.chains.evm.pins import EVM_PINS
from rpcproxy.chains.evm.questions import QUESTIONS
from rpcproxy.chains.evm.sending import EVM_SENDS
from rpcproxy.chains.evm.survey_questions import SURVEY
from rpcproxy.chains.kind import Kind
from rpcproxy.chains.parts.traits import Traits
from rpcproxy.config.model import Chain, Kinds

EVM: Final = Kind(
    name="evm",
    methods=EVM_METHODS,
    errors=EVM_ERRORS,
    questions=QUESTIONS,
    own_words=OWN_WORDS,
    claims=EVM_CLAIMS,
    contents=BLOCK_TEXTS,
    traits=Traits(anchors=("finalized", "safe")),
    sends=EVM_SENDS,
    announcements=NEW_HEADS,
    pins=EVM_PINS,
    searches=EVM_SEARCHES,
    comparison=EVM_COMPARISON,
    survey=SURVEY,
)

KINDS: Final = {kind.name: kind for kind in (EVM,)}

# How the texts of each are written in a configuration.
TEXTS: Final[Kinds] = {EVM.name: EVM_TEXTS}

# What is expected of a text that is to be a transaction's hash, of any chain.
HASH_WORDS: Final = " or ".join(
    kind.sends.names.hash_words for kind in KINDS.values() if kind.sends is not None
)


def hash_of(text: str) -> str | None:
    """The hash of a transaction of any chain, as it is kept; ``None`` where it is none."""
    for kind in KINDS.values():
        hash = None if kind.sends is None else kind.sends.names.hash_of(text)
        if hash is not None:
            return hash
    return None


def kind_of(chain: Chain) -> Kind:
    """Return the kind of a configured chain."""
    return KINDS[chain.kind]
