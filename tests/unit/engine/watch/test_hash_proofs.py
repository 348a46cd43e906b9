"""State at the served head is asked by its hash, of those that proved that they look at it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from rpcproxy.chains.evm.pins import EvmHeights
from rpcproxy.chains.evm.questions import QUESTIONS
from rpcproxy.engine.watch.hash_proofs import AGAIN_SECONDS, EVERY_SECONDS, HashProofs
from rpcproxy.engine.watch.probes import Probes
from rpcproxy.messages import FailureKind
from rpcproxy.words import Proof
from tests.kits.engine_kit import (
    Behaviour,
    Engine,
    Sent,
    answering,
    failing,
    head_of,
    now,
    on_chain,
    refusing,
    request,
    silent,
    to_head,
    virtual,
)

PAYEE = f"0x{0xFEE:040x}"
ADDRESS = f"0x{0xAB:040x}"
BALANCE = b'["%b","latest"]' % ADDRESS.encode()


def params_of(sent: Sent) -> Any:
    return sent.params[-1]


def at_hash(hash: Callable[[], str], good: bytes = b'"0x5"') -> Behaviour:
    """A node that looks at the hash, and knows one alone; numbers it answers as well."""
    known, unknown = answering(good), refusing(-32000, "header for hash not found")

    def behave(sent: Sent) -> None:
        asked = params_of(sent)
        is_known = not isinstance(asked, dict) or asked.get("blockHash", hash()) == hash()
        (known if is_known else unknown)(sent)

    return behave


class Proving:
    """An engine at block 100; all its upstreams look at hashes unless told otherwise."""

    def __init__(self, **chain: Any) -> None:
        self.engine = on_chain(**chain)
        self.proofs = HashProofs(
            self.engine.executor,
            Probes(self.engine.executor, clock=self.engine.clock),
            self.engine.told,
            QUESTIONS,
            clock=self.engine.clock,
        )
        self.engine.all_behave(at_hash(lambda: self.hash))
        self._seen: set[int] = set()
        self.tell(100)

    @property
    def hash(self) -> str:
        head = self.engine.standings.heads.served_head
        assert head is not None
        return head.hash

    def tell(self, number: int) -> None:
        to_head(self.engine, head_of(number))
        text = b'{"number":"0x%x","miner":"%b"}' % (number, PAYEE.encode())
        self.engine.told.on_report(head_of(number), now(), text)

    async def look(self, names: str = "abcd") -> None:
        for name in names:
            await self.proofs.look(self.engine.members[name])

    def news(self) -> list[Sent]:
        """What was sent since the last time."""
        sent = [each for each in self.engine.sent if id(each) not in self._seen]
        self._seen.update(map(id, sent))
        return sent

    @property
    def takers(self) -> str:
        return "".join(s.name for s in self.engine.standings if s.takes_hashes)


async def ask(engine: Engine, method: str = "eth_getBalance", params: bytes = BALANCE) -> Any:
    return await engine.handle(request(method, params)).reply()


# ---- the proof


@virtual
async def test_who_knows_the_real_hash_and_no_other_takes_hashes() -> None:
    proving = Proving()
    await proving.look()
    assert proving.takers == "abcd"
    asked = [params_of(sent)["blockHash"] for sent in proving.engine.wires["a"].sent]
    assert asked == [proving.hash, "0x" + proving.hash[:1:-1]]
    await proving.look()  # once is enough for a while
    assert len(proving.engine.sent) == 8
    await proving.engine.rest(EVERY_SECONDS + 1)
    proving.tell(101)
    await proving.look()
    assert len(proving.engine.sent) == 16


@pytest.mark.parametrize(
    "behaviour",
    [
        answering(b'"0x5"'),  # whatever it is asked at
        refusing(-32602, "invalid argument 1: cannot unmarshal object into string"),
        refusing(-32000, "header for hash not found"),
        failing(FailureKind.RESET),
        silent,
    ],
)
@virtual
async def test_who_does_not_prove_it_is_asked_at_numbers(behaviour: Behaviour) -> None:
    proving = Proving()
    proving.engine.behave(b=behaviour)
    await proving.look()
    assert proving.takers == "acd"


@virtual
async def test_nobody_is_asked_before_it_has_the_served_head() -> None:
    engine = on_chain()
    proofs = HashProofs(
        engine.executor,
        Probes(engine.executor, clock=engine.clock),
        engine.told,
        QUESTIONS,
        clock=engine.clock,
    )
    await proofs.look(engine.members["a"])  # nobody is known to be paid there
    proving = Proving()
    proving.engine.standings["a"].low_water = 99
    await proving.look("a")
    assert not engine.sent
    assert not proving.engine.sent


@virtual
async def test_a_silent_one_is_asked_again_soon() -> None:
    proving = Proving()
    proving.engine.behave(a=silent)
    await proving.look("a")
    proving.engine.behave(a=at_hash(lambda: proving.hash))
    await proving.look("a")
    assert proving.takers == ""
    await proving.engine.rest(AGAIN_SECONDS + 1)
    proving.tell(101)
    await proving.look("a")
    assert proving.takers == "a"


# ---- what is asked then


@virtual
async def test_reads_at_the_head_are_asked_by_its_hash_and_kept_by_its_number() -> None:
    proving = Proving()
    await proving.look()
    proving.news()
    assert (await ask(proving.engine))["result"] == "0x5"
    number = b'["%b","0x64"]' % ADDRESS.encode()
    assert (await ask(proving.engine, params=number))["result"] == "0x5"
    (sent,) = proving.news()
    assert sent.params == [ADDRESS, {"blockHash": proving.hash}]


@pytest.mark.parametrize(
    ("method", "params", "is_by_hash"),
    [
        ("eth_getCode", b'["0x1","latest"]', True),
        ("eth_getTransactionCount", b'["0x1"]', True),
        ("eth_getStorageAt", b'["0x1","0x64","latest"]', True),
        ("eth_call", b'[{"data":"0x64"},"latest"]', True),
        ("eth_call", b'[{"data":"0x64"},"latest",{"0x1":{"balance":"0x64"}}]', False),
        ("eth_call", b'[{"data":"0x64"},"0x63"]', False),
        ("eth_estimateGas", b'[{"data":"0x64"}]', False),
        ("eth_getBlockByNumber", b'["latest",false]', False),
        ("eth_getTransactionCount", b'["0x1","pending"]', False),
    ],
)
@virtual
async def test_what_eip_1898_names_is_asked_by_hash(
    method: str, params: bytes, *, is_by_hash: bool
) -> None:
    proving = Proving()
    await proving.look()
    proving.news()
    proving.engine.handle(request(method, params))
    (sent,) = proving.news()
    assert (b'{"blockHash":"%b"}]' % proving.hash.encode() in sent.payload) is is_by_hash


@virtual
async def test_so_are_the_members_of_a_batch() -> None:
    proving = Proving()
    proving.engine.executor.observe(Proof("a", takes_hashes=True), now())
    members = [request("eth_getCode", b'["0x%x","latest"]' % n, id=b"%d" % n) for n in range(3)]
    proving.engine.handle(b"[%b]" % b",".join(members))
    await asyncio.sleep(0.001)
    (sent,) = proving.engine.sent
    assert [call["params"][1] for call in sent.calls] == [{"blockHash": proving.hash}] * 3


@virtual
async def test_whoever_left_the_chain_cannot_answer_from_there() -> None:
    """Nobody knows yet that it did."""
    proving = Proving()
    await proving.look()
    elsewhere = f"0x{0xBAD:064x}"
    proving.engine.behave(a=at_hash(lambda: elsewhere, good=b'"0xbad"'))
    assert (await ask(proving.engine))["result"] == "0x5"
    assert proving.takers == "abcd"  # it has no such block, and says so


@virtual
async def test_after_a_reorg_of_the_same_height_the_new_hash_is_asked() -> None:
    proving = Proving()
    await proving.look()
    other = msgspec.structs.replace(head_of(100), hash=f"0x{0xFACE:064x}")
    proving.engine.standings.heads.served_head = other
    proving.news()
    proving.engine.handle(request("eth_getCode", b'["0x1","latest"]'))
    assert params_of(proving.news()[0])["blockHash"] == other.hash


# ---- who proved it and does not everywhere


@pytest.mark.parametrize(
    "refusal",
    [
        refusing(-32602, "invalid argument 1: hex string expected"),
        refusing(-32601, "the method with these params is not available"),
        refusing(-32603, "internal error"),
        refusing(-39999, "something that nobody has heard of"),
    ],
)
@virtual
async def test_a_refusal_is_no_fault_and_ends_it(refusal: Behaviour) -> None:
    proving = Proving()
    await proving.look()

    def numbers_only(sent: Sent) -> None:
        (refusal if isinstance(params_of(sent), dict) else answering(b'"0x5"'))(sent)

    proving.engine.all_behave(numbers_only)
    assert (await ask(proving.engine))["result"] == "0x5"
    assert proving.takers == "bcd"
    assert proving.engine.standings["a"].light.breaker.share == 0.0
    await proving.look("a")
    assert proving.takers == "bcd"


@virtual
async def test_a_lone_upstream_is_asked_again_at_the_number() -> None:
    proving = Proving()
    await proving.look()
    proving.engine.eject(*"bcd")

    def numbers_only(sent: Sent) -> None:
        is_hash = isinstance(params_of(sent), dict)
        (refusing(-32602, "invalid params") if is_hash else answering(b'"0x5"'))(sent)

    proving.engine.behave(a=numbers_only)
    assert (await ask(proving.engine))["result"] == "0x5"


@virtual
async def test_params_that_are_wrong_are_still_told_to_be() -> None:
    proving = Proving()
    await proving.look()
    proving.engine.all_behave(refusing(-32602, "invalid argument 0: hex string of odd length"))
    reply = await ask(proving.engine)
    assert reply["error"]["code"] == -32602


# ---- the text


def test_the_hash_stands_where_the_number_stood() -> None:
    heights = EvmHeights.of(0x64, hash="0xaa")
    assert heights.by_hash(b'["0x64","0x64"]') == b'["0x64",{"blockHash":"0xaa"}]'
    assert heights.by_hash(b'["0x64","0x63"]') == b'["0x64","0x63"]'
    assert EvmHeights.of(0x64).by_hash(b'["0x1","0x64"]') == b'["0x1","0x64"]'
    assert EvmHeights.of(-1).by_hash(b'["0x1","0x64"]') == b'["0x1","0x64"]'
