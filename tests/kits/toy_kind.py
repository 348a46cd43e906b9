"""A toy kind of chain, as little as a kind may be, and in nothing like EVM.

Numbers skip, a block names the number of the one before it, blocks are final at once, and hashes
are bare digits. The head takes two questions. State is given of the node's own head and names its
block. Errors come under any HTTP status. Transactions are words that come in no order. There are
no counters, names for blocks, searches, contents, subscriptions, comparisons and surveys.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from rpcproxy.chains.kind import Kind, Methods, OwnWords, Questions
from rpcproxy.chains.method import OBJECT, Keep, Method, MethodKind, SendForm, Subject
from rpcproxy.chains.parts.asked_at import LATEST, NONE, BlockNeed
from rpcproxy.chains.parts.claims import NO_BLOCK, BlockClaim, Claims, Naming, ToldBlock
from rpcproxy.chains.parts.errors import READS, SENDS, ErrorTable, by_scope, text_row
from rpcproxy.chains.parts.heights import Pins
from rpcproxy.chains.parts.inquiries import Inquiry, JsonText, Question, single
from rpcproxy.chains.parts.traits import Traits
from rpcproxy.chains.parts.transactions import (
    BadTransaction,
    DecodedTransaction,
    Inclusion,
    ListedBlock,
    Said,
    Sends,
    TransactionLookUps,
    TransactionNames,
    WaitingTransactions,
)
from rpcproxy.messages import Head, MethodClass, Verdict

LIGHT: Final = MethodClass.LIGHT
READ, LOOK_UP = (MethodKind.BLOCK_READ, MethodKind.LOOKUP)
_IN_BLOCK: Final = {"names_block": True, "is_known": True, "is_everywhere": True}
_FOUND: Final = {**_IN_BLOCK, "confirm_null": True, "is_null_for_none": True}
_rows: Final = (
    Method("network", MethodKind.LOCAL, LIGHT, is_known=True),
    Method("height", MethodKind.HEAD_READ, LIGHT, subject=Subject.HEAD, is_known=True),
    Method("tip", MethodKind.HEAD_READ, LIGHT, is_known=True, null_is_data=False),
    Method("block", LOOK_UP, LIGHT, subject=Subject.BLOCK, is_by_block_hash=True,
           keep=Keep.FOREVER, **_FOUND),
    Method("block_at", READ, LIGHT, 0, null_is_data=False, null_is_lag=True,
           subject=Subject.BLOCK, is_null_for_none=True, **_IN_BLOCK),
    Method("balance", READ, LIGHT, 1, null_is_data=False, shape=OBJECT, **_IN_BLOCK),
    Method("entry", LOOK_UP, LIGHT, subject=Subject.TRANSACTION, keep=Keep.MINED, **_FOUND),
    Method("proof", LOOK_UP, LIGHT, subject=Subject.RECEIPT, keep=Keep.MINED, **_FOUND),
    Method("push", MethodKind.SEND, MethodClass.SEND, null_is_data=False, shape=OBJECT,
           can_hedge=False, send_form=SendForm.OURS, is_known=True),
)  # fmt: skip
METHODS: Final = {method.name: method for method in _rows}


def describe(name: str) -> Method:
    return METHODS.get(name) or Method(name, MethodKind.HEAD_READ, LIGHT)


# ---- what stands in answers


class _At(msgspec.Struct):
    height: int
    id: str


class _Block(msgspec.Struct):
    height: int
    id: str
    before: _At | None
    when: int
    entries: list[str] = []


class _Placed(msgspec.Struct):
    place: _At | None = None
    entry: str = ""


def read_as(kind: Any) -> Callable[[JsonText], Any]:
    def read(result: JsonText) -> Any:
        try:
            return msgspec.json.decode(result, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    return read


def text(*params: Any) -> bytes:
    return msgspec.json.encode(params)


_block, _placed, _params = read_as(_Block), read_as(_Placed), read_as(list[Any])
_ID: Final = re.compile("[0-9a-f]{64}")


def head_in(result: JsonText) -> Head | None:
    block = _block(result)
    if block is None:
        return None
    before = block.before or _At(-1, "")
    return Head(block.height, block.id, before.id, block.when, before.height)


def first_of(params: JsonText) -> Any:
    return next(iter(_params(params) or ()), None)


def id_in(params: JsonText) -> str:
    first = first_of(params)
    return first if isinstance(first, str) and _ID.fullmatch(first) else ""


def required_block(method: Method, params: JsonText) -> BlockNeed:
    if method.name != "block_at":
        return LATEST if method.name == "balance" else NONE
    number = first_of(params)
    return number if isinstance(number, int) and number >= 0 else LATEST


def asked_block(method: Method, params: JsonText) -> ToldBlock:
    if method.name == "block":
        return ToldBlock(-1, id_in(params))
    return ToldBlock(max(-1, required_block(method, params)), "")


def block_in(method: Method, result: JsonText) -> ToldBlock | None:
    if method.subject is Subject.BLOCK:
        head = head_in(result)
        return None if head is None else ToldBlock(head.number, head.hash)
    found = _placed(result)
    if found is None:
        return None
    return NO_BLOCK if found.place is None else ToldBlock(found.place.height, found.place.id)


def of_block(
    method: Method, params: JsonText, result: JsonText, *, tells_hashes: bool = True
) -> BlockClaim:
    del tells_hashes
    told, asked = block_in(method, result), asked_block(method, params)
    is_waiting = told == NO_BLOCK and method.subject is Subject.TRANSACTION
    if told is None or asked.number not in (-1, told.number) or asked.hash not in ("", told.hash):
        return BlockClaim(told, Naming.WRONG)
    return BlockClaim(told, Naming.CLEAR if told.hash or is_waiting else Naming.NOWHERE)


# ---- what is asked, and sent


def header(id: str) -> Inquiry[Head]:
    def read(result: JsonText) -> Head | None:
        head = head_in(result)
        return head if head is not None and head.hash == id else None

    return single(Question(METHODS["block"], text(id), read))


def newest() -> Inquiry[Head]:
    tip = yield Question(METHODS["tip"], b"[]", read_as(str))
    return (yield from header(tip))


def network() -> Inquiry[str]:
    return single(Question(METHODS["network"], b"[]", read_as(str)))


def id_of(word: str) -> str:
    return hashlib.blake2b(word.encode(), digest_size=32).hexdigest()


def decode(word: str, identity: str) -> DecodedTransaction:
    if not word.startswith(f"{identity} "):
        raise BadTransaction("wrong network", f"it is not for network {identity}")
    return DecodedTransaction(word.encode(), id_of(word))


def _place_of(result: JsonText) -> Inclusion | None:
    found = _placed(result)
    return None if found is None or found.place is None else Inclusion(*_pair(found.place))


def _pair(place: _At) -> tuple[int, str]:
    return place.height, place.id


def _listed(result: JsonText) -> ListedBlock | None:
    block = _block(result)
    return None if block is None else ListedBlock(block.id, block.entries)


def waiting(tx: DecodedTransaction) -> bytes:
    return msgspec.json.encode({"entry": tx.hash, "place": None})


SENDS_OF_TOY: Final = Sends(
    method=METHODS["push"],
    raw_of=first_of,
    check_size=lambda _word, _identity, /, *, is_public: None,
    decode=decode,
    text_of=bytes.decode,
    params_of=lambda raw: text(raw.decode()),
    plain=lambda params: params,
    result_of=lambda known: msgspec.json.encode({"pushed": known}),
    hash_told=lambda result: msgspec.json.decode(result)["pushed"],
    look_ups=TransactionLookUps(
        transaction=lambda known: Question(METHODS["entry"], text(known), _placed),
        receipt=lambda known: Question(METHODS["proof"], text(known), _place_of),
        block=lambda height: Question(METHODS["block_at"], text(height), _listed),
    ),
    names=TransactionNames(
        hash_of=lambda word: word if _ID.fullmatch(word) else None,
        hash_words="64 digits",
        hash_in=id_in,
        hashes_in=lambda params: _ID.findall(params.decode()),
        start_of=lambda raw: raw[:16],
        starts_in=lambda _params: (),
        transactions_in=lambda _params: (),
    ),
    waiting=WaitingTransactions(
        object_of=waiting,
        looked_up=lambda method, params: id_in(params) if method.name in ("entry", "proof") else "",
        said=lambda method, tx: Said(waiting(tx) if tx and method.name == "entry" else b"null"),
    ),
)
TOY: Final = Kind(
    name="toy",
    methods=Methods(describe),
    errors=ErrorTable(
        by_scope(
            (
                text_row(Verdict.MISSING_DATA, READS, "toy", "not here yet"),
                text_row(Verdict.ALREADY_KNOWN, SENDS, "toy", "queued already"),
                text_row(Verdict.SEND_REFUSED, SENDS, "toy", "bad word"),
            )
        ),
        statuses={500: Verdict.SERVER_ERROR, 429: Verdict.RATE_LIMITED},
        is_body_first=True,
    ),
    questions=Questions(identity=network, head=newest, header=header),
    own_words=OwnWords(
        constants=lambda identity: {"network": msgspec.json.encode(identity)},
        head="height",
        head_text=lambda number: b"%d" % number,
        listening="serves",
        flag_text=lambda flag: b"true" if flag else b"false",
        refused={},
        refusal=lambda method, why: f"no {method} here: {why}",
    ),
    claims=Claims(
        block_in=block_in,
        of_block=of_block,
        head_in=head_in,
        asked_block=asked_block,
        asked_key=id_in,
    ),
    traits=Traits(final_depth=0, skips_numbers=True),
    sends=SENDS_OF_TOY,
    pins=Pins(required_block=required_block),
)
