"""Which kind each chain is of. The one place that knows all kinds. Pure."""

from __future__ import annotations

from typing import Final

from rpcproxy.chains.evm.compare import EVM_COMPARISON
from rpcproxy.chains.evm.entries import BLOCK_TEXTS
from rpcproxy.chains.evm.errors import EVM_ERRORS
from rpcproxy.chains.evm.feed import NEW_HEADS
from rpcproxy.chains.evm.joins import EVM_SEARCHES
from rpcproxy.chains.evm.methods import EVM_METHODS
from rpcproxy.chains.evm.naming import EVM_CLAIMS
from rpcproxy.chains.evm.own_words import OWN_WORDS
from rpcproxy.chains.evm.pins import EVM_PINS
from rpcproxy.chains.evm.questions import QUESTIONS
from rpcproxy.chains.evm.sends.waiting import EVM_WAITING
from rpcproxy.chains.evm.survey_questions import SURVEY
from rpcproxy.chains.kind import Kind
from rpcproxy.chains.traits import Traits
from rpcproxy.config.model import Chain

EVM: Final = Kind(
    name="evm",
    methods=EVM_METHODS,
    errors=EVM_ERRORS,
    questions=QUESTIONS,
    own_words=OWN_WORDS,
    claims=EVM_CLAIMS,
    contents=BLOCK_TEXTS,
    traits=Traits(anchors=("finalized", "safe")),
    announcements=NEW_HEADS,
    pins=EVM_PINS,
    searches=EVM_SEARCHES,
    waiting=EVM_WAITING,
    comparison=EVM_COMPARISON,
    survey=SURVEY,
)

KINDS: Final = {kind.name: kind for kind in (EVM,)}


def kind_of(chain: Chain) -> Kind:
    """Return the kind of a configured chain."""
    return KINDS[chain.kind]
