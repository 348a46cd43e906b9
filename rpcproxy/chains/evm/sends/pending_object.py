"""How nodes show a signed transaction while it waits, made from what a wallet sent."""

from __future__ import annotations

from typing import Any

import msgspec

from rpcproxy.chains.evm.sends.signed import LEGACY, SignedTransaction
from rpcproxy.chains.parts.transactions import DecodedTransaction


def pending_object(tx: DecodedTransaction) -> bytes:
    """The JSON text of eth_getTransactionByHash's result while ``tx`` is in no block, with the
    members, spellings and order of geth's. Empty where the type is not ours to read.
    """
    if not isinstance(tx, SignedTransaction) or (body := tx.body) is None:
        return b""
    members: dict[str, Any] = {
        "blockHash": None,
        "blockNumber": None,
        "blockTimestamp": None,
        "from": tx.lane,
        "gas": hex(body.gas),
        "gasPrice": hex(body.gas_price),
    }
    if body.tip is not None:
        members |= {"maxFeePerGas": hex(body.gas_price), "maxPriorityFeePerGas": hex(body.tip)}
    if body.blob_gas_price is not None:
        members["maxFeePerBlobGas"] = hex(body.blob_gas_price)
    members |= {
        "hash": tx.hash,
        "input": "0x" + body.input.hex(),
        "nonce": hex(tx.order),
        "to": body.to,
        "transactionIndex": None,
        "value": hex(body.value),
        "type": hex(tx.type),
    }
    if body.access_list is not None:
        members["accessList"] = body.access_list
    if tx.chain_id is not None:
        members["chainId"] = hex(tx.chain_id)
    if body.blob_hashes is not None:
        members["blobVersionedHashes"] = body.blob_hashes
    if body.authorizations is not None:
        members["authorizationList"] = body.authorizations
    members |= {"v": hex(body.v), "r": hex(body.r), "s": hex(body.s)}
    if tx.type != LEGACY:
        members["yParity"] = hex(body.v)
    return msgspec.json.encode(members)
