"""The JSON-RPC face of the simulated chain, with geth's words where it refuses.

``perform`` answers one call from a ``SimView``; it keeps no state. Error texts are those of
go-ethereum (``internal/ethapi``, ``eth/filters``, ``rpc``), which wallets and the proxy's
tables know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from Crypto.Hash import keccak

from rpcproxy.drills.evm import simchain
from rpcproxy.drills.evm.simchain import TOKEN, quantity
from rpcproxy.drills.evm.simparams import (
    HEX,
    CallRefused,
    argument,
    bad,
    fixed,
    height,
    number_of,
    state_block,
    unknown_method,
)
from rpcproxy.drills.evm.simsearch import logs, trace_filter
from rpcproxy.drills.evm.simview import SimView
from rpcproxy.messages import Request

CLIENT_VERSION: Final = "SimGeth/v1.0.0-stable/rpcproxy-drills"
MAX_BLOB_BYTES: Final = 256 * 1024 * 1024
# Made on the fly from one shared piece, so that many large replies cost no memory.
_BLOB_PIECE: Final = b"x" * 65536

# Selectors of the token: the first four bytes of keccak of the signature.
BALANCE_OF: Final = "0x70a08231"
NUMBER: Final = "0x8381f58a"  # number()
FAIL: Final = "0xa9cc4718"  # fail(): always reverts with a reason
# NUMBER, MSTORE, RETURN: run without a contract, any EVM answers the number of the block that
# it runs in.
NUMBER_CODE: Final = "0x4360005260206000f3"
_CONSTANTS: Final = {
    "0x18160ddd": f"0x{10**27:064x}",  # totalSupply()
    "0x313ce567": f"0x{18:064x}",  # decimals()
    "0xa9059cbb": f"0x{1:064x}",  # transfer(address,uint256)
    "0x06fdde03": f"0x{32:064x}{15:064x}{b'Simulated token'.hex():0<64}",  # name()
    "0x95d89b41": f"0x{32:064x}{3:064x}{b'SIM'.hex():0<64}",  # symbol()
}
# Error(string) "simulated": what Solidity's require(false, "simulated") returns.
REVERT_DATA: Final = f"0x08c379a0{32:064x}{9:064x}{b'simulated'.hex():0<64}"


def perform(view: SimView, request: Request) -> list[bytes]:
    """The JSON text of the result, in pieces. Raises ``CallRefused``."""
    function = METHODS.get(request.method)
    if function is None:
        raise unknown_method(request.method)
    params = msgspec.json.decode(request.params) if request.params else []
    if params is None:
        params = []
    if not isinstance(params, list):
        raise CallRefused(-32602, "non-array args")
    result = function(view, params)
    if isinstance(result, _Blob):
        return result.pieces()
    return [msgspec.json.encode(result)]


class _Blob:
    def __init__(self, size: int) -> None:
        self.size = size

    def pieces(self) -> list[bytes]:
        whole, rest = divmod(self.size, len(_BLOB_PIECE))
        return [b'"', *[_BLOB_PIECE] * whole, _BLOB_PIECE[:rest] + b'"']


# --------------------------------------------------------------------------
# Methods


def _chain_id(view: SimView, _: list[Any]) -> object:
    return quantity(view.chain_id)


def _block_by_number(view: SimView, params: list[Any]) -> object:
    value = argument(params, 0)
    number = height(view, value, 0)
    full = bool(argument(params, 1, default=False))
    if value == "pending" and view.pending_block:
        return view.pending(full=full)
    if number > view.head:
        return None
    if not view.chain.has_block(number):
        raise CallRefused(12, "requested epoch was a null round")  # Lotus, chain/types/ethtypes
    return view.block(number, full=full)


def _block_by_hash(view: SimView, params: list[Any]) -> object:
    number = view.number_of(fixed(params, 0, "hash"))
    full = bool(argument(params, 1, default=False))
    return None if number is None else view.block(number, full=full)


def _block_receipts(view: SimView, params: list[Any]) -> object:
    value = argument(params, 0)
    is_hash = isinstance(value, str) and len(value) == 66
    number = view.number_of(fixed(params, 0, "hash")) if is_hash else height(view, value, 0)
    is_there = number is not None and number <= view.head and view.chain.has_block(number)
    return view.receipts(number) if number is not None and is_there else None


def _transaction_in_block(view: SimView, params: list[Any]) -> object:
    value = argument(params, 0)
    is_hash = isinstance(value, str) and len(value) == 66
    number = view.number_of(fixed(params, 0, "hash")) if is_hash else height(view, value, 0)
    if number is None or number > view.head or not view.chain.has_block(number):
        return None
    transactions: list[Any] = view.block(number, full=True)["transactions"]
    index = number_of(argument(params, 1), 1)
    return transactions[index] if index < len(transactions) else None


def _call(view: SimView, params: list[Any]) -> object:
    call = argument(params, 0)
    if not isinstance(call, dict):
        raise bad(0, "json: cannot unmarshal non-object into a transaction")
    number = state_block(view, params, 1)
    data = str(call.get("input") or call.get("data") or "0x").lower()
    if not HEX.fullmatch(data):
        raise bad(0, "json: cannot unmarshal invalid hex string into input")
    if not call.get("to") and data == NUMBER_CODE:
        return f"0x{number:064x}"
    if str(call.get("to") or "").lower() != TOKEN:
        return "0x"
    selector = data[:10]
    if selector == BALANCE_OF and len(data) == 10 + 64:
        return f"0x{view.balance('0x' + data[-40:], number):064x}"
    if selector == NUMBER:
        return f"0x{number:064x}"
    if selector in _CONSTANTS:
        return _CONSTANTS[selector]
    if selector == FAIL:
        raise CallRefused(3, "execution reverted: simulated", REVERT_DATA)
    raise CallRefused(3, "execution reverted", "0x")


def _balance(view: SimView, params: list[Any]) -> object:
    address = fixed(params, 0, "address")
    return quantity(view.balance(address, state_block(view, params, 1)))


def _transaction_count(view: SimView, params: list[Any]) -> object:
    address = fixed(params, 0, "address")
    number = state_block(view, params, 1)
    pending = 0
    if argument(params, 1, "latest") == "pending":
        pending = sum(1 for sent in view.chain.mempool.values() if sent.sender == address)
    return quantity(view.nonce(address, number) + pending)


def _code(view: SimView, params: list[Any]) -> object:
    address = fixed(params, 0, "address")
    state_block(view, params, 1)
    return simchain.TOKEN_CODE if address == TOKEN else "0x"


def _storage_at(view: SimView, params: list[Any]) -> object:
    address = fixed(params, 0, "address")
    argument(params, 1)
    number = state_block(view, params, 2)
    return view.block_hash(number) if address == TOKEN else simchain.ZERO_HASH


def _estimate_gas(view: SimView, params: list[Any]) -> object:
    _call(view, params)
    call = params[0]
    return quantity(51_234 if call.get("input") or call.get("data") else 21_000)


def _gas_price(view: SimView, _: list[Any]) -> object:
    return quantity(simchain.base_fee_at(view.head) + 10**9)


def _fee_history(view: SimView, params: list[Any]) -> object:
    value = argument(params, 0)
    count = min(value if isinstance(value, int) else number_of(value, 0), 1024)
    newest = height(view, argument(params, 1), 1)
    if newest > view.head:
        raise CallRefused(
            -32000, f"request beyond head block: requested {newest}, head {view.head}"
        )
    oldest = max(0, newest - count + 1)
    history: dict[str, object] = {
        "oldestBlock": quantity(oldest),
        "baseFeePerGas": [quantity(simchain.base_fee_at(n)) for n in range(oldest, newest + 2)],
        "gasUsedRatio": [0.5] * (newest - oldest + 1),
    }
    if percentiles := argument(params, 2, []):
        row = [quantity(10**9)] * len(percentiles)
        history["reward"] = [row] * (newest - oldest + 1)
    return history


def _transaction(view: SimView, params: list[Any]) -> object:
    return view.transaction(fixed(params, 0, "hash"))


def _receipt(view: SimView, params: list[Any]) -> object:
    return view.receipt(fixed(params, 0, "hash"))


def _send(view: SimView, params: list[Any]) -> object:
    raw = argument(params, 0)
    if not isinstance(raw, str) or not HEX.fullmatch(raw):
        raise bad(0, "json: cannot unmarshal invalid hex string into hexutil.Bytes")
    if raw == "0x":
        raise CallRefused(-32000, "typed transaction too short")
    if view.forgets_sends:
        return "0x" + keccak.new(digest_bits=256, data=bytes.fromhex(raw[2:])).hexdigest()
    try:
        return view.chain.submit(bytes.fromhex(raw[2:]))
    except simchain.AlreadyKnown:
        raise CallRefused(-32000, "already known") from None
    except simchain.NonceTooLow:
        raise CallRefused(-32000, "nonce too low: next nonce 1, tx nonce 0") from None


def sent_hash(params: bytes) -> str:
    """The hash of the raw transaction that is the first parameter, empty where it is none."""
    try:
        raw = bytes.fromhex(msgspec.json.decode(params)[0][2:])
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError):
        return ""
    return "0x" + keccak.new(digest_bits=256, data=raw).hexdigest()


def _blob(_: SimView, params: list[Any]) -> object:
    size = argument(params, 0)
    if not isinstance(size, int) or not 0 <= size <= MAX_BLOB_BYTES:
        raise bad(0, f"want a number of bytes up to {MAX_BLOB_BYTES}")
    return _Blob(size)


METHODS: Final[dict[str, Callable[[SimView, list[Any]], object]]] = {
    "eth_chainId": _chain_id,
    "net_version": lambda view, _: str(view.chain_id),
    "eth_blockNumber": lambda view, _: quantity(view.head),
    "eth_getBlockByNumber": _block_by_number,
    "eth_getBlockByHash": _block_by_hash,
    "eth_getBlockReceipts": _block_receipts,
    "eth_call": _call,
    "eth_getBalance": _balance,
    "eth_getTransactionCount": _transaction_count,
    "eth_getCode": _code,
    "eth_getStorageAt": _storage_at,
    "eth_estimateGas": _estimate_gas,
    "eth_gasPrice": _gas_price,
    "eth_maxPriorityFeePerGas": lambda _view, _: quantity(10**9),
    "eth_feeHistory": _fee_history,
    "eth_getLogs": logs,
    "eth_getTransactionByHash": _transaction,
    "eth_getTransactionByBlockHashAndIndex": _transaction_in_block,
    "eth_getTransactionByBlockNumberAndIndex": _transaction_in_block,
    "trace_filter": trace_filter,
    "eth_getTransactionReceipt": _receipt,
    "eth_sendRawTransaction": _send,
    "web3_clientVersion": lambda _view, _: CLIENT_VERSION,
    "net_listening": lambda _view, _: True,
    "eth_syncing": lambda _view, _: False,
    "sim_blob": _blob,
}
