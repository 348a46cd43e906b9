"""The hash of a user operation (ERC-4337), computed from what a wallet sends.

It leaves out the signature, so that "already known" means this hash. Sources: the EntryPoints of
eth-infinitism's account-abstraction 0.6 (fields one by one), 0.7 (packed) and 0.8 (EIP-712).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rpcproxy.chains.evm.sends.raw_transactions import keccak256, unhex
from rpcproxy.chains.parts.transactions import BadTransaction

_V06: Final = "0x5ff137d4b0fdcd49dca30c7cf57e578a026d2789"
_V07: Final = "0x0000000071727de22e5e9d8baf0edac6f37da032"
_V08: Final = "0x4337084d9e255ff0702461cf8895ce9e3b5ff108"
_DOMAIN: Final = keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_PACKED: Final = keccak256(
    b"PackedUserOperation(address sender,uint256 nonce,bytes initCode,bytes callData,"
    b"bytes32 accountGasLimits,uint256 preVerificationGas,bytes32 gasFees,bytes paymasterAndData)"
)
_params_decoder = msgspec.json.Decoder(tuple[dict[str, Any], str])


# Of an operation and what is in it; one of v0.8 with an authorization has 22.
_MOST_FIELDS: Final = 64


def user_operation_hash(params: bytes | msgspec.Raw, chain_id: int) -> str:
    """Of the params of eth_sendUserOperation; empty where they are of no shape that we know."""
    if bytes(params).count(b":") > _MOST_FIELDS:  # read on the loop: a dict of 200,000 took 83 ms
        return ""
    try:
        operation, entry_point = _params_decoder.decode(params)
        entry_point = entry_point.lower()
        if entry_point not in (_V06, _V07, _V08) or operation.get("eip7702Auth"):
            return ""
        return "0x" + _hash(operation, entry_point, chain_id).hex()
    except (msgspec.MsgspecError, UnicodeDecodeError, BadTransaction, ValueError, OverflowError):
        return ""
    except (TypeError, AttributeError, KeyError, RecursionError):
        return ""


def _hash(operation: dict[str, Any], entry_point: str, chain_id: int) -> bytes:
    place = _word(entry_point) + chain_id.to_bytes(32, "big")
    if entry_point == _V06:
        fields = b"".join(
            [
                *(_word(operation["sender"]), _word(operation["nonce"])),
                *(keccak256(_bytes(operation, name)) for name in ("initCode", "callData")),
                *(_word(operation[name]) for name in ("callGasLimit", "verificationGasLimit")),
                *(_word(operation[name]) for name in ("preVerificationGas", "maxFeePerGas")),
                _word(operation["maxPriorityFeePerGas"]),
                keccak256(_bytes(operation, "paymasterAndData")),
            ]
        )
        return keccak256(keccak256(fields) + place)
    fields = b"".join(
        [
            *(_word(operation["sender"]), _word(operation["nonce"])),
            keccak256(_joined(operation, "factory", "factoryData")),
            keccak256(_bytes(operation, "callData")),
            _half(operation["verificationGasLimit"]) + _half(operation["callGasLimit"]),
            _word(operation["preVerificationGas"]),
            _half(operation["maxPriorityFeePerGas"]) + _half(operation["maxFeePerGas"]),
            keccak256(_paymaster(operation)),
        ]
    )
    if entry_point == _V07:
        return keccak256(keccak256(fields) + place)
    names = keccak256(b"ERC4337") + keccak256(b"1")
    domain = keccak256(_DOMAIN + names + place[32:] + place[:32])
    return keccak256(b"\x19\x01" + domain + keccak256(_PACKED + fields))


def _joined(operation: dict[str, Any], who: str, data: str) -> bytes:
    return _bytes(operation, who) + _bytes(operation, data) if operation.get(who) else b""


def _paymaster(operation: dict[str, Any]) -> bytes:
    if not operation.get("paymaster"):
        return b""
    limits = (
        _half(operation.get(name) or "0x0")
        for name in ("paymasterVerificationGasLimit", "paymasterPostOpGasLimit")
    )
    return _bytes(operation, "paymaster") + b"".join(limits) + _bytes(operation, "paymasterData")


def _bytes(operation: dict[str, Any], name: str) -> bytes:
    text = operation.get(name) or "0x"
    return b"" if text == "0x" else unhex(text)


def _word(text: str) -> bytes:
    return int(text, 16).to_bytes(32, "big")


def _half(text: str) -> bytes:
    return int(text, 16).to_bytes(16, "big")
