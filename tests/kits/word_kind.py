"""A kind of chain that is told apart by a word, as Cosmos' are: the EVM's but for that."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec
from msgspec.structs import replace

from rpcproxy.chains.evm.methods import describe
from rpcproxy.chains.kind import Kind
from rpcproxy.chains.parts.inquiries import JsonText, Question, single
from rpcproxy.chains.registry import EVM
from rpcproxy.config.model import Chain


class WordChain(Chain):
    """``word`` is its identity."""

    word: str

    @property
    def identity(self) -> str:
        return self.word


def _word(result: JsonText) -> str | None:
    try:
        return msgspec.json.decode(result, type=str)
    except msgspec.MsgspecError:
        return None


def _constants(identity: str) -> Mapping[str, bytes]:
    return {"eth_chainId": msgspec.json.encode(identity)}


_QUESTION = Question(describe("eth_chainId"), b"[]", _word)
WORD_KIND: Kind = replace(
    EVM,
    questions=replace(EVM.questions, identity=partial(single, _QUESTION)),
    own_words=replace(EVM.own_words, constants=_constants),
)
