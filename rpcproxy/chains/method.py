"""What the proxy needs to know of a JSON-RPC method, whatever the chain."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from rpcproxy.messages import MethodClass


class MethodKind(enum.Enum):
    """How a method relates to the chain, which decides how it may be answered."""

    LOCAL = "local"  # answered by the proxy itself
    HEAD_READ = "head_read"  # depends on the head
    BLOCK_READ = "block_read"  # has a block parameter: a tag, a number or a hash
    LOOKUP = "lookup"  # by hash: null may mean that this upstream does not know it yet
    IMMUTABLE = "immutable"
    SEND = "send"
    STATEFUL = "stateful"  # filters and subscriptions
    REFUSED = "refused"  # keys and mining: never through a proxy


class Keep(enum.Enum):
    """What of a method's answers may be shared among clients, and for how long kept."""

    NEVER = "never"
    HEAD = "head"  # while the served head stands: it depends on the head alone
    BLOCK = "block"  # while the block it was asked at is on the chain
    MINED = "mined"  # once it is in a block, and while that block is on the chain
    FOREVER = "forever"  # a fact of the chain, or asked by a block's hash


class Subject(enum.Enum):
    """What an answer is, as far as it can be held against what is known of the chain."""

    OTHER = "other"
    HEAD = "head"  # the number of the newest block
    BLOCK = "block"  # one block, or its header
    PART = "part"  # of one block: an entry of it, or a list of them
    RECEIPT = "receipt"  # that a transaction is in a block, by the transaction's hash
    TRANSACTION = "transaction"  # by its hash, in a block or not
    SEARCH = "search"  # what a filter finds in a range of blocks
    COUNTER = "counter"  # how many transactions an account has sent
    FILLED = "filled"  # a transaction in which a node has filled in what its sender left out


class Data(enum.IntEnum):
    """Kinds of data, as nodes prune them."""

    STATE = 0  # balances, code, storage, calls, proofs
    HISTORY = 1  # blocks, receipts, logs
    TRACES = 2  # what executes old blocks again


class SendForm(enum.Enum):
    """How a send is carried out."""

    OURS = "ours"  # of one transaction: written down, sent in copies and sent again
    SYNC = "sync"  # the same; the client is answered with the receipt
    OPERATION = "operation"  # of what is no transaction and has a hash that may be ours to compute
    OTHER = "other"  # of anything, to one upstream at a time


# How the JSON text of a result begins. One match on the hot path answers both "is it null"
# and "can it be what was asked for"; null is the only JSON text that begins with n.
NOT_NULL: Final = re.compile(rb"[^n]")
LIST: Final = re.compile(rb"\[")
OBJECT: Final = re.compile(rb"\{")


@dataclass(frozen=True, slots=True)
class Method:
    """``block_param``: position of the block parameter, ``None`` where there is none.
    ``null_is_data``: the method may answer null. ``weight`` is the cost relative to the question
    for the head's number. ``criticality`` orders shedding, 0 is shed last.
    """

    name: str
    kind: MethodKind
    method_class: MethodClass
    block_param: int | None = None
    null_is_data: bool = True
    confirm_null: bool = False  # ask one more upstream before a null is given
    can_hedge: bool = True
    weight: int = 1
    criticality: int = 2
    null_is_lag: bool = False  # null says that this upstream does not have the block
    is_execution: bool = False  # runs code: its errors may be the code's own
    shape: re.Pattern[bytes] = NOT_NULL  # what the JSON text of a result must match, null apart
    keep: Keep = Keep.NEVER
    names_block: bool = False  # the answer says which block it is in
    is_of_contents: bool = False  # the answer says how much there is of a block
    is_indexed: bool = False  # it asks for the one at an index of a block
    is_state: bool = False  # the answer follows from a block, and nothing in it proves which
    is_null_for_none: bool = False  # nodes answer null where there is no such thing
    is_bare: bool = False  # nothing in the answer can be held against what is known of the chain
    subject: Subject = Subject.OTHER
    is_by_block_hash: bool = False  # it looks something up by a block's hash alone
    takes_hash: bool = False  # its block parameter may be a block's hash
    is_known: bool = False  # it is in the table of its kind, not only presumed from its name
    is_everywhere: bool = False  # no node lacks it
    data: Data = Data.STATE  # which kind it reads; by hash or at a number makes no difference
    send_form: SendForm = SendForm.OTHER  # of a send

    @property
    def is_ranged(self) -> bool:
        """Whether it reads a range of blocks, by a filter."""
        return self.subject is Subject.SEARCH
