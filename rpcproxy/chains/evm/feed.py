"""How EVM upstreams announce blocks: ``eth_subscribe`` to ``newHeads`` (geth's documentation)."""

from __future__ import annotations

from typing import Final

from rpcproxy.chains.evm.blocks import head_of_block
from rpcproxy.chains.evm.errors import EVM_ERRORS
from rpcproxy.chains.kind import Announcements
from rpcproxy.chains.parts.errors import READS
from rpcproxy.messages import Verdict


def _refusal(code: int | None, words: str) -> Verdict:
    return EVM_ERRORS.verdict(code, words, READS)


NEW_HEADS: Final = Announcements(
    title="newHeads",
    method="eth_subscribe",
    params=b'["newHeads"]',
    notice="eth_subscription",
    life=("net_version", b"[]"),
    read=head_of_block,
    refusal=_refusal,
)
