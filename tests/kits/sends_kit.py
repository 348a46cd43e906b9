"""Sends for the engine of ``engine_kit``: signed transactions by account and nonce, and what looks
after them.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from eth_account import Account

from rpcproxy.chains.evm.sending import EVM_SENDS
from rpcproxy.chains.parts.transactions import Sends
from rpcproxy.engine.reads import profiles
from rpcproxy.engine.sends.rebroadcast import Rebroadcast
from tests.kits.engine_kit import CHAIN_ID, Engine

TO = "0x" + "22" * 20


class Signed(NamedTuple):
    raw: str
    hash: str
    sender: str
    nonce: int

    @property
    def params(self) -> bytes:
        """Of a send."""
        return b'["%b"]' % self.raw.encode()


@cache
def signed(nonce: int = 0, account: int = 1, tip: int = 1) -> Signed:
    """A transfer. ``tip``: another one makes another transaction of the same nonce."""
    key = "0x" + f"{account:02x}" * 32
    fields = {"nonce": nonce, "gas": 21_000, "to": TO, "value": 1, "chainId": CHAIN_ID}
    fees = {"maxFeePerGas": 10**9, "maxPriorityFeePerGas": tip}
    made = Account.sign_transaction({**fields, **fees}, key)
    sender = Account.from_key(key).address.lower()
    return Signed(made.raw_transaction.to_0x_hex(), made.hash.to_0x_hex(), sender, nonce)


def rebroadcast_of(engine: Engine, sends: Sends = EVM_SENDS) -> Rebroadcast:
    """Not started."""
    return Rebroadcast(
        engine.executor,
        engine.ledger,
        engine.copies,
        engine.pipeline.truth,
        profiles.policies(engine.chain),
        sends=sends,
        clock=engine.clock,
    )
