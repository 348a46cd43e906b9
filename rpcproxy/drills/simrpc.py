"""The JSON-RPC face of the simulated chain, with geth's words where it refuses.

``perform`` answers one call from a ``View``; it keeps no state. Error texts are those of
go-ethereum (``internal/ethapi``, ``eth/filters``, ``rpc``), which wallets and the proxy's
tables know.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from rpcproxy.drills import simchain
from rpcproxy.drills.simchain import TOKEN, View, quantity
from rpcproxy.messages import Request

CLIENT_VERSION: Final = "SimGeth/v1.0.0-stable/rpcproxy-drills"
MAX_LOG_RANGE: Final = 1000
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

_HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_QUANTITY: Final = re.compile(r"0x(?:0|[1-9a-fA-F][0-9a-fA-F]*)")
_BYTES_OF: Final = {"address": 20, "hash": 32}
_MISSING: Final = object()


class Refused(Exception):
    """The call has an error for an answer."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def encoded(self) -> bytes:
        """The JSON text of the error object."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return msgspec.json.encode(error)


def unknown_method(method: str) -> Refused:
    return Refused(-32601, f"the method {method} does not exist/is not available")


def perform(view: View, request: Request) -> list[bytes]:
    """The JSON text of the result, in pieces. Raises ``Refused``."""
    function = METHODS.get(request.method)
    if function is None:
        raise unknown_method(request.method)
    params = msgspec.json.decode(request.params) if request.params else []
    if params is None:
        params = []
    if not isinstance(params, list):
        raise Refused(-32602, "non-array args")
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
# Parameters


def _argument(params: list[Any], position: int, default: object = _MISSING) -> Any:  # noqa: ANN401 -- any JSON
    if position < len(params) and params[position] is not None:
        return params[position]
    if default is _MISSING:
        raise Refused(-32602, f"missing value for required argument {position}")
    return default


def _bad(position: int, why: str) -> Refused:
    return Refused(-32602, f"invalid argument {position}: {why}")


def _fixed(params: list[Any], position: int, what: str) -> str:
    """An address or a hash, in lower case."""
    value = _argument(params, position)
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise _bad(position, f"json: cannot unmarshal invalid hex string into a {what}")
    if len(value) != 2 + 2 * _BYTES_OF[what]:
        raise _bad(
            position,
            f"hex string has length {len(value) - 2}, want {2 * _BYTES_OF[what]} for {what}",
        )
    return value.lower()


def _number(value: object, position: int) -> int:
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise _bad(position, "hex string without 0x prefix or with leading zero digits")
    return int(value, 16)


def _height(view: View, value: object, position: int) -> int:
    """A tag or a number, as a number that may lie above the head."""
    tagged = view.number_of_tag(value) if isinstance(value, str) else None
    return _number(value, position) if tagged is None else tagged


def _state_block(view: View, params: list[Any], position: int) -> int:
    """The block to read state at; tag, number, or an object of EIP-1898."""
    value = _argument(params, position, "latest")
    if isinstance(value, dict) and "blockHash" in value:
        found = view.number_of(_fixed([value["blockHash"]], 0, "hash"))
        if found is None:
            raise Refused(-32000, "header for hash not found")
        number = found
    else:
        if isinstance(value, dict):
            value = value.get("blockNumber", "latest")
        number = _height(view, value, position)
    if number > view.head:
        raise Refused(-32000, "header not found")
    if view.state_head is None or number <= view.state_head:
        return number
    if value in ("latest", "pending") or view.has_old_state:
        return view.state_head
    root = view.block_hash(number)[2:]
    raise Refused(-32000, f"missing trie node {root} (path ) state 0x{root} is not available")


# --------------------------------------------------------------------------
# Methods


def _chain_id(view: View, _: list[Any]) -> object:
    return quantity(view.chain_id)


def _block_by_number(view: View, params: list[Any]) -> object:
    number = _height(view, _argument(params, 0), 0)
    full = bool(_argument(params, 1, default=False))
    return view.block(number, full=full) if number <= view.head else None


def _block_by_hash(view: View, params: list[Any]) -> object:
    number = view.number_of(_fixed(params, 0, "hash"))
    full = bool(_argument(params, 1, default=False))
    return None if number is None else view.block(number, full=full)


def _block_receipts(view: View, params: list[Any]) -> object:
    value = _argument(params, 0)
    is_hash = isinstance(value, str) and len(value) == 66
    number = view.number_of(_fixed(params, 0, "hash")) if is_hash else _height(view, value, 0)
    return None if number is None or number > view.head else view.receipts(number)


def _call(view: View, params: list[Any]) -> object:
    call = _argument(params, 0)
    if not isinstance(call, dict):
        raise _bad(0, "json: cannot unmarshal non-object into a transaction")
    number = _state_block(view, params, 1)
    data = str(call.get("input") or call.get("data") or "0x").lower()
    if not _HEX.fullmatch(data):
        raise _bad(0, "json: cannot unmarshal invalid hex string into input")
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
        raise Refused(3, "execution reverted: simulated", REVERT_DATA)
    raise Refused(3, "execution reverted", "0x")


def _balance(view: View, params: list[Any]) -> object:
    address = _fixed(params, 0, "address")
    return quantity(view.balance(address, _state_block(view, params, 1)))


def _transaction_count(view: View, params: list[Any]) -> object:
    address = _fixed(params, 0, "address")
    number = _state_block(view, params, 1)
    pending = 0
    if _argument(params, 1, "latest") == "pending":
        pending = sum(1 for sent in view.chain.mempool.values() if sent.sender == address)
    return quantity(view.nonce(address, number) + pending)


def _code(view: View, params: list[Any]) -> object:
    address = _fixed(params, 0, "address")
    _state_block(view, params, 1)
    return simchain.TOKEN_CODE if address == TOKEN else "0x"


def _storage_at(view: View, params: list[Any]) -> object:
    address = _fixed(params, 0, "address")
    _argument(params, 1)
    number = _state_block(view, params, 2)
    return view.block_hash(number) if address == TOKEN else simchain.ZERO_HASH


def _estimate_gas(view: View, params: list[Any]) -> object:
    _call(view, params)
    call = params[0]
    return quantity(51_234 if call.get("input") or call.get("data") else 21_000)


def _gas_price(view: View, _: list[Any]) -> object:
    return quantity(simchain.base_fee_at(view.head) + 10**9)


def _fee_history(view: View, params: list[Any]) -> object:
    value = _argument(params, 0)
    count = min(value if isinstance(value, int) else _number(value, 0), 1024)
    newest = _height(view, _argument(params, 1), 1)
    if newest > view.head:
        raise Refused(-32000, f"request beyond head block: requested {newest}, head {view.head}")
    oldest = max(0, newest - count + 1)
    history: dict[str, object] = {
        "oldestBlock": quantity(oldest),
        "baseFeePerGas": [quantity(simchain.base_fee_at(n)) for n in range(oldest, newest + 2)],
        "gasUsedRatio": [0.5] * (newest - oldest + 1),
    }
    if percentiles := _argument(params, 2, []):
        row = [quantity(10**9)] * len(percentiles)
        history["reward"] = [row] * (newest - oldest + 1)
    return history


def _logs(view: View, params: list[Any]) -> object:
    query = _argument(params, 0)
    if not isinstance(query, dict):
        raise _bad(0, "json: cannot unmarshal non-object into a filter")
    if "blockHash" in query:
        if "fromBlock" in query or "toBlock" in query:
            why = "cannot specify both BlockHash and FromBlock/ToBlock, choose one or the other"
            raise _bad(0, why)
        only = view.number_of(_fixed([query["blockHash"]], 0, "hash"))
        if only is None:
            raise Refused(-32000, "unknown block")
        first = last = only
    else:
        first = _height(view, query.get("fromBlock") or "latest", 0)
        last = _height(view, query.get("toBlock") or "latest", 0)
        if first > last:
            raise Refused(-32602, "invalid block range params")
        if last > view.head:
            raise Refused(-32602, "block range extends beyond current head block")
        if last - first >= MAX_LOG_RANGE:
            raise Refused(-32602, f"query exceeds max block range {MAX_LOG_RANGE}")
    return [log for n in range(first, last + 1) for log in view.logs(n) if _is_wanted(log, query)]


def _is_wanted(log: simchain.Json, query: dict[str, Any]) -> bool:
    def matches(wanted: object, value: str) -> bool:
        if wanted is None or wanted == []:
            return True
        options = wanted if isinstance(wanted, list) else [wanted]
        return value in [str(option).lower() for option in options]

    topics = query.get("topics") or []
    return (
        matches(query.get("address"), log["address"])
        and len(topics) <= len(log["topics"])
        and all(matches(*pair) for pair in zip(topics, log["topics"], strict=False))
    )


def _transaction(view: View, params: list[Any]) -> object:
    return view.transaction(_fixed(params, 0, "hash"))


def _receipt(view: View, params: list[Any]) -> object:
    return view.receipt(_fixed(params, 0, "hash"))


def _send(view: View, params: list[Any]) -> object:
    raw = _argument(params, 0)
    if not isinstance(raw, str) or not _HEX.fullmatch(raw):
        raise _bad(0, "json: cannot unmarshal invalid hex string into hexutil.Bytes")
    if raw == "0x":
        raise Refused(-32000, "typed transaction too short")
    try:
        return view.chain.submit(bytes.fromhex(raw[2:]))
    except simchain.AlreadyKnown:
        raise Refused(-32000, "already known") from None
    except simchain.NonceTooLow:
        raise Refused(-32000, "nonce too low: next nonce 1, tx nonce 0") from None


def _blob(_: View, params: list[Any]) -> object:
    size = _argument(params, 0)
    if not isinstance(size, int) or not 0 <= size <= MAX_BLOB_BYTES:
        raise _bad(0, f"want a number of bytes up to {MAX_BLOB_BYTES}")
    return _Blob(size)


METHODS: Final[dict[str, Callable[[View, list[Any]], object]]] = {
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
    "eth_getLogs": _logs,
    "eth_getTransactionByHash": _transaction,
    "eth_getTransactionReceipt": _receipt,
    "eth_sendRawTransaction": _send,
    "web3_clientVersion": lambda _view, _: CLIENT_VERSION,
    "net_listening": lambda _view, _: True,
    "eth_syncing": lambda _view, _: False,
    "sim_blob": _blob,
}
