"""How transactions of the EVM are sent and asked for: what the engine knows of ``sends``.

Sources: execution-apis, EIP-7966 (``eth_sendRawTransactionSync``).
"""

from __future__ import annotations

from typing import Final

import msgspec

from rpcproxy.chains.evm.blocks import parse_quantity
from rpcproxy.chains.evm.methods import TRANSACTION_BY_HASH, describe
from rpcproxy.chains.evm.sends.hash_names import EVM_NAMES
from rpcproxy.chains.evm.sends.pending_object import pending_object
from rpcproxy.chains.evm.sends.raw_transactions import cancelled_by, check_size, raw_transaction
from rpcproxy.chains.evm.sends.said_hashes import candidate_hashes, hashes_in, may_be_out
from rpcproxy.chains.evm.sends.signed import SignedTransaction, decode
from rpcproxy.chains.evm.sends.user_operations import user_operation_hash
from rpcproxy.chains.evm.sends.waiting import asked_hash, said_while_waiting
from rpcproxy.chains.parts.inquiries import JsonText, Question
from rpcproxy.chains.parts.transactions import (
    ForeignHashes,
    Inclusion,
    ListedBlock,
    Sends,
    SyncSends,
    TransactionLookUps,
    WaitingTransactions,
)

_TRANSACTION: Final = describe(TRANSACTION_BY_HASH)
_RECEIPT: Final = describe("eth_getTransactionReceipt")
_BLOCK: Final = describe("eth_getBlockByNumber")
_NONCE: Final = describe("eth_getTransactionCount")
_OPERATION: Final = describe("eth_getUserOperationByHash")

SYNC_DEFAULT_SECONDS: Final = 20.0  # Nitro's default; its cap is 60 s
SYNC_LONGEST_SECONDS: Final = 60.0


# --------------------------------------------------------------------------
# An identity is a chain id in decimal digits: what is signed has it as a number


def decode_for(text: str, identity: str) -> SignedTransaction:
    """``signed.decode`` for the chain with this identity."""
    return decode(text, int(identity))


def _check_size(text: str, identity: str, /, *, is_public: bool) -> None:
    check_size(text, int(identity), is_public=is_public)


def _operation_hash(params: bytes, identity: str) -> str:
    return user_operation_hash(params, int(identity))


# --------------------------------------------------------------------------
# Bytes and hashes as JSON


def text_of(raw: bytes) -> str:
    """Signed bytes as a wallet writes them."""
    return "0x" + raw.hex()


def params_of(raw: bytes) -> bytes:
    """Params of a send of these bytes."""
    return b'["0x%b"]' % raw.hex().encode()


def plain(params: bytes) -> bytes:
    """The first parameter alone, as it was spelled: what comes after it is for those who wait."""
    return b"[%b]" % bytes(_texts(params)[0])


def _texts(params: bytes) -> list[msgspec.Raw]:
    return msgspec.json.decode(params, type=list[msgspec.Raw])


def result_of(hash: str) -> bytes:
    """A send's result."""
    return b'"%b"' % hash.encode()


def hash_told(result: JsonText) -> str:
    """The hash that is a send's result, empty where that is none."""
    try:
        text = msgspec.json.decode(result, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return text.lower() if text.startswith("0x") else ""


# --------------------------------------------------------------------------
# What is asked about transactions


class _Receipt(msgspec.Struct, gc=False):
    block_number: str = msgspec.field(name="blockNumber")
    block_hash: str = msgspec.field(name="blockHash")


class _Block(msgspec.Struct, gc=False):
    number: str
    hash: str
    transactions: list[str] = []


_receipt_decoder = msgspec.json.Decoder(_Receipt)
_block_decoder = msgspec.json.Decoder(_Block)


def _anything(result: JsonText) -> object:
    """Only the verdict counts."""
    return result


def _inclusion(result: JsonText) -> Inclusion | None:
    try:
        receipt = _receipt_decoder.decode(result)
        return Inclusion(int(receipt.block_number, 16), receipt.block_hash)
    except (msgspec.MsgspecError, ValueError):
        return None


def _listed(result: JsonText) -> ListedBlock | None:
    try:
        block = _block_decoder.decode(result)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return ListedBlock(block.hash, block.transactions)


def _hash_params(hash: str) -> bytes:
    return b'["%b"]' % hash.encode()


def _transaction(hash: str) -> Question[object]:
    return Question(_TRANSACTION, _hash_params(hash), _anything)


def _receipt(hash: str) -> Question[Inclusion]:
    return Question(_RECEIPT, _hash_params(hash), _inclusion)


def _operation(hash: str) -> Question[object]:
    return Question(_OPERATION, _hash_params(hash), _anything)


def _block(height: int) -> Question[ListedBlock]:
    return Question(_BLOCK, b'["0x%x",false]' % height, _listed)


def _nonce(sender: str, height: int) -> Question[int]:
    return Question(_NONCE, b'["%b","0x%x"]' % (sender.encode(), height), parse_quantity)


# --------------------------------------------------------------------------
# Sends that are answered with the receipt


def sync_seconds(params: bytes) -> float:
    """How long the receipt is waited for: the second parameter, in milliseconds, as a number (geth)
    or a hex quantity (viem, Nitro).
    """
    texts = _texts(params)
    text = bytes(texts[1]) if len(texts) > 1 else b""
    milliseconds = parse_quantity(text)
    if milliseconds is None:
        try:
            milliseconds = int(text)
        except ValueError:
            return SYNC_DEFAULT_SECONDS
    return min(SYNC_LONGEST_SECONDS * 1000, max(0, milliseconds)) / 1000


def _too_late(hash: str, seconds: float) -> bytes:
    """Code 4: sent, and not mined in time; the hash is in ``data`` (EIP-7966). The words are geth
    1.17.10's.
    """
    message = (
        "The transaction was added to the transaction pool but wasn't processed in"
        f" {seconds:g}s (it was sent)"
    )
    return msgspec.json.encode({"code": 4, "message": message, "data": hash})


# --------------------------------------------------------------------------
# All of it


EVM_SENDS: Final = Sends(
    method=describe("eth_sendRawTransaction"),
    raw_of=raw_transaction,
    check_size=_check_size,
    decode=decode_for,
    text_of=text_of,
    params_of=params_of,
    plain=plain,
    result_of=result_of,
    hash_told=hash_told,
    look_ups=TransactionLookUps(
        transaction=_transaction, receipt=_receipt, block=_block, counter=_nonce
    ),
    names=EVM_NAMES,
    waiting=WaitingTransactions(
        object_of=pending_object, looked_up=asked_hash, said=said_while_waiting
    ),
    foreign=ForeignHashes(
        named_in=hashes_in,
        may_be_out=may_be_out,
        candidates=candidate_hashes,
        of_operation=_operation_hash,
        operation=_operation,
    ),
    sync=SyncSends(seconds=sync_seconds, longest_seconds=SYNC_LONGEST_SECONDS, late=_too_late),
    cancelled_by=cancelled_by,
)
