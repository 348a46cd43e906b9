"""Audits: the same read asked of a second company, and compared by what it means.

``AUDITED`` says which methods can be compared at all; ``difference`` compares
two results, ``judge`` says who of two or three stands alone, and ``Auditor`` chooses the reads.

State: ``Auditor``, one per chain, written by ``engine.watch.audits``: its purse, how many reads
passed since it last chose one, and who was the odd one out lately.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import Any, Final

import msgspec

from rpcproxy.rules.standing.limits import TokenBucket
from rpcproxy.rules.standing.selection import Rng

# --------------------------------------------------------------------------
# What is compared

# Hex of which every digit counts. All other hex is a number, and 0x00 is 0x0.
_DATA: Final = frozenset(
    {
        *("hash", "parentHash", "blockHash", "transactionHash", "mixHash", "root", "sha3Uncles"),
        *("stateRoot", "transactionsRoot", "receiptsRoot", "withdrawalsRoot", "requestsHash"),
        *("parentBeaconBlockRoot", "from", "to", "address", "contractAddress", "transactions"),
        *("uncles", "topics", "storageKeys", "blobVersionedHashes", "input", "data", "extraData"),
    }
)

# Where providers that serve the same chain are known to differ.
_IGNORED: Final = frozenset(
    {
        # Total difficulty ended with proof of work: real, zero or left out. Sizes are counted
        # with and without what later forks added.
        *("totalDifficulty", "size"),
        # Zero, or the signer found from the seal (clique, Bor).
        *("miner", "author", "sealFields"),
        # The price paid, or the cap, of one and the same transaction; parities in two notations.
        *("gasPrice", "v", "standardV"),
        # Follows from the logs; some leave it empty.
        "logsBloom",
        # New in logs, and zero in some releases.
        "blockTimestamp",
        # Counted from the upstream's own head.
        "confirmations",
        # What a rollup paid for: decimal or hex, by release.
        *("l1Fee", "l1GasPrice", "l1GasUsed", "l1FeeScalar", "l1BaseFeeScalar"),
        *("l1BlobBaseFee", "l1BlobBaseFeeScalar", "l1BatchNumber", "l1BatchTxIndex"),
    }
)

_BLOCK: Final = ("hash", "number", "parentHash", "stateRoot", "transactionsRoot")
_TRANSACTION: Final = (
    *("hash", "blockHash", "blockNumber", "transactionIndex"),
    *("from", "to", "nonce", "value", "input"),
)
_RECEIPT: Final = ("transactionHash", "blockHash", "blockNumber", "status", "logs")
_LOG: Final = ("address", "topics", "data", "blockHash", "transactionHash", "logIndex")
# Members that hold objects with a core of their own.
_WITHIN: Final = {"transactions": _TRANSACTION, "logs": _LOG}
# A rollup's deposits come from no account: their nonce is told in several ways, or not at all.
_DEPOSIT_TYPE: Final = "0x7e"


class Form(msgspec.Struct, frozen=True, gc=False):
    """How results of a method are read. ``spelled_as`` is the member whose spelling a result that
    is plain hex follows; ``core`` names what an object must hold where the other one does.
    """

    spelled_as: str = "number"
    core: tuple[str, ...] = ()


_ROWS: Final[tuple[tuple[Form, str], ...]] = (
    # State: what wallets show, and a value is right or wrong.
    (Form(), "eth_getBalance"),
    # A wrong nonce makes wallets call a transaction dropped.
    (Form(), "eth_getTransactionCount"),
    # A word: with all of its zeros, or without.
    (Form(), "eth_getStorageAt"),
    # Execution and code: bytes in, bytes out.
    (Form("data"), "eth_call eth_getCode"),
    # Blocks: the hashes commit to everything else.
    (Form(core=_BLOCK), "eth_getBlockByNumber eth_getBlockByHash"),
    (Form(core=_BLOCK), "eth_getHeaderByNumber eth_getHeaderByHash"),
    (Form(), "eth_getBlockTransactionCountByNumber eth_getBlockTransactionCountByHash"),
    # What happened: a false status or a missing log costs people money.
    (Form(core=_RECEIPT), "eth_getTransactionReceipt eth_getBlockReceipts"),
    (Form(core=_TRANSACTION), "eth_getTransactionByHash eth_getTransactionByBlockHashAndIndex"),
    (Form(core=_TRANSACTION), "eth_getTransactionByBlockNumberAndIndex"),
    # The one answer that is often cut short in silence; the order is the chain's.
    (Form(core=_LOG), "eth_getLogs"),
)
# Left out, since honest answers differ:
# - eth_estimateGas, eth_createAccessList: a search with a tolerance and a cap of the node's own
# - eth_gasPrice, eth_maxPriorityFeePerGas, eth_blobBaseFee: an opinion of the node
# - eth_feeHistory: rewards are rounded differently, and ranges are cut
# - eth_getProof, eth_getAccount: order and spelling of what is proven; a proof proves itself
# - eth_simulateV1, eth_callMany: made-up blocks with fields of the node's own choice
# - debug_, trace_, ots_, txpool_: every client writes its own
# - eth_blockNumber and whatever else follows the head: it moved in between
AUDITED: Final[Mapping[str, Form]] = MappingProxyType(
    {name: form for form, names in _ROWS for name in names.split()}
)

# What cannot be read as JSON in a reasonable time is compared by its bytes.
LARGEST_READ_BYTES: Final = 1024 * 1024
FINGERPRINT_BYTES: Final = 6
# Names of members come from upstreams.
LONGEST_PATH: Final = 80


def meaning(method: str, result: bytes) -> object:
    """A result reduced to what it says: plain values, without nulls, spelled in one way. What
    cannot be read stays bytes.
    """
    if len(result) > LARGEST_READ_BYTES:
        return result
    try:
        return _reduced(msgspec.json.decode(result), AUDITED[method].spelled_as)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return result


def _reduced(value: object, member: str) -> object:
    if isinstance(value, str):
        if value[:2] not in ("0x", "0X"):
            return value
        digits = value[2:].lower()
        return "0x" + (digits if member in _DATA else digits.lstrip("0"))
    if isinstance(value, dict):
        return {
            name: _reduced(held, name)
            for name, held in value.items()
            if held is not None and name not in _IGNORED
        }
    if isinstance(value, list):
        return [_reduced(item, member) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return "0x" + f"{value:x}".lstrip("0")
    return value


def difference(method: str, one: bytes, other: bytes) -> str:
    """Where two results part, as a path (``logs[2].data``; ``result`` for the whole of it), and
    ``""`` where they mean the same. For methods in ``AUDITED``; ``KeyError`` for others.
    """
    if one == other:
        return ""
    return _parting(method, meaning(method, one), meaning(method, other))


def _parting(method: str, one: object, other: object) -> str:
    path = _path(one, other, AUDITED[method].core)
    if path is None:
        return ""
    return path.lstrip(".")[:LONGEST_PATH] or "result"


def _path(one: object, other: object, core: Sequence[str]) -> str | None:
    """The path to the first difference, ``None`` where there is none."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in (*core, *(name for name in one if name not in core)):
            if _is_waived(name, one, other):
                continue
            if name in one and name in other:
                path = _path(one[name], other[name], _WITHIN.get(name, ()))
                if path is not None:
                    return f".{name}{path}"
            elif name in core and (name in one or name in other):
                return f".{name}"
        return None
    if isinstance(one, list) and isinstance(other, list):
        for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
            path = _path(mine, theirs, core)
            if path is not None:
                return f"[{index}]{path}"
        return None if len(one) == len(other) else ".length"
    return None if one == other else ""


def _is_waived(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether honest providers differ in this member of just these objects."""
    if name == "status":  # before Byzantium a receipt had a state root in its place
        are_both = "status" in one and "status" in other
        return not are_both and ("root" in one or "root" in other)
    return name == "nonce" and one.get("type") == other.get("type") == _DEPOSIT_TYPE


def is_evidence(method: str, result: bytes) -> bool:
    """Whether a result can be compared. A null is not: history may be pruned, and who lags is no
    liar. Neither is what is not yet in a block.
    """
    start = result.lstrip()[:1]
    if start == b"{" and "blockHash" in AUDITED[method].core:
        said = meaning(method, result)
        return not isinstance(said, dict) or "blockHash" in said
    return start != b"n"


def fingerprint(method: str, result: bytes) -> str:
    """A short hash of what a result says, for people to compare. Different fingerprints may still
    mean the same: members that only one of them has count here.
    """
    said = meaning(method, result)
    text = said if isinstance(said, bytes) else msgspec.json.encode(said, order="deterministic")
    return hashlib.blake2b(text, digest_size=FINGERPRINT_BYTES).hexdigest()


# --------------------------------------------------------------------------
# Who stands alone


class Given(msgspec.Struct, frozen=True, gc=False):
    """An answer: who gave it, of which company, and the JSON text of the result."""

    upstream: str
    company: str
    result: bytes


class AuditFinding(enum.Enum):
    """What two or three answers show."""

    AGREED = "agreed"
    DIFFERED = "differed"  # two answers: a third has to tell
    ODD_ONE_OUT = "odd_one_out"
    UNDECIDED = "undecided"


class AuditResult(msgspec.Struct, frozen=True, gc=False):
    """``odd`` is the upstream that stands alone against two companies, ``where`` the path to the
    difference; both empty where there is none.
    """

    finding: AuditFinding
    odd: str = ""
    where: str = ""


def judge(method: str, answers: Sequence[Given]) -> AuditResult:
    """Compare all answers (two or three, each of another upstream) with each other."""
    said = [meaning(method, given.result) for given in answers]
    parted = {
        (i, j): where
        for i, j in combinations(range(len(answers)), 2)
        if (where := _parting(method, said[i], said[j]))
    }
    if not parted:
        return AuditResult(AuditFinding.AGREED)
    first_where = next(iter(parted.values()))
    if len(answers) == 2:
        return AuditResult(AuditFinding.DIFFERED, where=first_where)
    alone = dict(_alone(answers, parted))
    if len(alone) != 1:
        return AuditResult(AuditFinding.UNDECIDED, where=first_where)
    odd, where = alone.popitem()
    return AuditResult(AuditFinding.ODD_ONE_OUT, answers[odd].upstream, where)


def _alone(
    answers: Sequence[Given], parted: Mapping[tuple[int, int], str]
) -> Iterator[tuple[int, str]]:
    """Who parts from two of different companies that agree, and where."""
    everyone = range(len(answers))
    for i, j in combinations(everyone, 2):
        if (i, j) in parted or answers[i].company == answers[j].company:
            continue
        for odd in everyone:
            where = parted.get((min(odd, i), max(odd, i)))
            if where is not None and (min(odd, j), max(odd, j)) in parted:
                yield odd, where


# --------------------------------------------------------------------------
# Which reads

# A difference needs two calls at once; a large budget may spend a minute's worth.
LEAST_BURST: Final = 2.0
BURST_SECONDS: Final = 60.0
# How often someone was odd fades by two thirds in this time.
ODD_MEMORY_SECONDS: Final = 3600.0


class Auditor:
    """Chooses reads so that calls stay within a budget and spread over the hour: one in so many,
    by how many there were lately. Beyond the budget, over any time, may be the burst (two calls
    or a minute's worth) and two third opinions, which are paid off later.
    """

    __slots__ = ("_drawn_at", "_gap", "_interval_seconds", "_look_at", "_odd", "_passed", "_purse")

    def __init__(self, calls_per_hour: float, now: float) -> None:
        """``calls_per_hour`` is above 0."""
        rate = calls_per_hour / 3600.0
        self._interval_seconds = 1.0 / rate
        self._purse = TokenBucket(rate, now, max(BURST_SECONDS, LEAST_BURST / rate))
        self._passed = 0
        self._gap = 1
        self._look_at = now
        self._drawn_at = now
        self._odd: dict[str, tuple[float, float]] = {}

    def wants(self, method: str, now: float, rng: Rng) -> bool:
        """Whether this read is to be audited. Asked of every read: mostly a count and a no."""
        if method not in AUDITED:
            return False
        self._passed += 1
        if self._passed < self._gap and now < self._look_at:
            return False
        tokens = self._purse.tokens(now)
        can_pay = tokens >= 1.0
        self._draw(tokens - 1.0 if can_pay else tokens, now, rng)
        return can_pay

    def _draw(self, tokens: float, now: float, rng: Rng) -> None:
        """Choose which read to look at next: after about so many as come in the time until it can
        be paid. By count, not by time alone: else the first of a burst were chosen always.
        """
        wait_seconds = (max(0.0, 1.0 - tokens) + rng.random()) * self._interval_seconds
        reads_per_second = self._passed / max(now - self._drawn_at, 0.001)
        self._gap = max(1, int(reads_per_second * wait_seconds))
        # Where there are fewer than lately.
        self._look_at = now + 2.0 * wait_seconds
        self._drawn_at = now
        self._passed = 0

    def pay(self, now: float) -> None:
        """One call was made. Third opinions are paid as well, if need be later."""
        self._purse.take(now)

    def on_odd(self, upstream: str, now: float) -> None:
        """An upstream stood alone."""
        self._odd[upstream] = (self.odd_lately(upstream, now) + 1.0, now)

    def odd_lately(self, upstream: str, now: float) -> float:
        """How often it stood alone, fading with the hours; 0 for never."""
        count, at = self._odd.get(upstream, (0.0, now))
        return count * math.exp(-max(0.0, now - at) / ODD_MEMORY_SECONDS)

    def adopt(self, old: Auditor, now: float) -> None:
        """A reload: go on with what is left to spend, and with what was learned."""
        self._purse.take(now, max(0.0, self._purse.burst - old._purse.tokens(now)))
        self._odd = dict(old._odd)
