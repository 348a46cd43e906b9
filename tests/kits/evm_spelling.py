"""EVM as nodes and wallets of the simulated chain speak it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rpcproxy.chains.parts.asked_at import FINALIZED, HASH, LATEST, SAFE
from rpcproxy.chains.registry import EVM
from tests.kits import spelling
from tests.kits.spelling import (
    BALANCE,
    BLOCK,
    CALL,
    HEADER,
    IDENTITY,
    LOGS,
    NONCE,
    NUMBER,
    RECEIPT,
    STATE,
    TX,
    Ask,
    Entry,
    Header,
    Told,
    Value,
)

MINER: Final = "0x" + "dd" * 20
TOKEN: Final = "0x" + "ee" * 20
NOBODY: Final = "0x" + "0" * 40
METHODS: Final = {
    IDENTITY: "eth_chainId",
    NUMBER: "eth_blockNumber",
    BLOCK: "eth_getBlockByNumber",
    HEADER: "eth_getBlockByHash",
    BALANCE: "eth_getBalance",
    CALL: "eth_call",
    NONCE: "eth_getTransactionCount",
    LOGS: "eth_getLogs",
    RECEIPT: "eth_getTransactionReceipt",
    TX: "eth_getTransactionByHash",
}
ASKED: Final = {method: what for what, method in METHODS.items()}
TAGS: Final = {"latest": LATEST, "safe": SAFE, "finalized": FINALIZED}
SELECTOR: Final = "0x70a08231"  # balanceOf(address)


class EvmSpelling(spelling.Spelling):
    """See the module's docstring."""

    kind = EVM
    hash_prefix = "0x"
    no_block = (-32000, "header not found", 200)
    wallets_ask: Sequence[str] = (
        *("number", "number", "latest", "by number", "by hash", "balance", "balance", "call"),
        *("nonce", "nonce", "balance at", "nonce at", "receipt", "receipt", "tx", "logs"),
        "logs range",
    )

    def request(self, ask: Ask) -> tuple[str, list[Any]]:
        block = "latest" if ask.at == LATEST else hex(ask.at)
        params: list[Any] = [ask.of]
        if ask.what == NUMBER:
            params = []
        elif ask.what == BLOCK:
            params = [block, False]
        elif ask.what == HEADER:
            params = [ask.of, False]
        elif ask.what == CALL:
            params = [{"to": TOKEN, "data": SELECTOR + ask.of[2:].zfill(64)}, block]
        elif ask.what == LOGS:
            params = [{"address": TOKEN, "fromBlock": hex(ask.low), "toBlock": block}]
        elif ask.what in (BALANCE, NONCE):
            params = [ask.of, block]
        return METHODS[ask.what], params

    def asked(self, method: str, params: Any) -> Ask:
        what = ASKED[method]
        if what == BLOCK:
            return Ask(what, at=height_in(params[0]))
        if what == CALL:
            return at(Ask(what, "0x" + params[0]["data"][-40:]), params[1])
        if what == LOGS:
            query = params[0]
            low, high = height_in(query["fromBlock"]), height_in(query["toBlock"])
            return Ask(what, query["address"], high, low)
        if what in (BALANCE, NONCE):
            return at(Ask(what, params[0].lower()), params[1])
        return Ask(what, params[0] if params else "")

    def answer(self, ask: Ask, told: Told) -> Any:
        if isinstance(told, int):
            return hex(told)
        if isinstance(told, Value):
            return told.word
        if isinstance(told, Header):
            return {
                "number": hex(told.number),
                "hash": told.hash,
                "parentHash": told.parent_hash,
                "miner": MINER,
                "timestamp": hex(told.timestamp),
                "transactions": list(told.txs),
            }
        if isinstance(told, list):
            return [] if ask.of == NOBODY else [log(entry) for entry in told]
        if told is None:
            return None
        return {
            "blockHash": told.hash,
            "blockNumber": hex(told.number),
            "from": told.sender,
            ("hash" if ask.what == TX else "transactionHash"): told.tx,
        }

    def read(self, ask: Ask, result: Any) -> Told:
        if result is None:
            return None
        if ask.what in (NUMBER, NONCE):
            return int(result, 16)
        if ask.what in STATE:
            return Value(result)
        if ask.what == LOGS:
            return [
                Entry(int(each["blockNumber"], 16), each["blockHash"], each["transactionHash"],
                      int(each["logIndex"], 16))
                for each in result
            ]  # fmt: skip
        if ask.what in (RECEIPT, TX):
            return Entry(int(result["blockNumber"], 16), result["blockHash"])
        number, timestamp = int(result["number"], 16), int(result["timestamp"], 16)
        return Header(number, result["hash"], result["parentHash"], timestamp)


def height_in(block: str) -> int:
    return TAGS[block] if block in TAGS else int(block, 16)


def at(ask: Ask, block: str | dict[str, str]) -> Ask:
    """By a height, a tag, or EIP-1898's object."""
    if isinstance(block, dict):
        return ask._replace(at=HASH, hash=block["blockHash"])
    return ask._replace(at=height_in(block))


def log(entry: Entry) -> dict[str, Any]:
    return {
        "address": TOKEN,
        "blockHash": entry.hash,
        "blockNumber": hex(entry.number),
        "transactionHash": entry.tx,
        "logIndex": hex(entry.index),
    }


EVM_SPELLING: Final = EvmSpelling()
