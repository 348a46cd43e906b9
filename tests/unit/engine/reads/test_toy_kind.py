"""Stories of a kind of chain that is in nothing like EVM: ``tests/kits/toy_kind.py``.

Generated histories of it are in ``tests/unit/rules/heads/test_chain_properties.py``.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.people.chain_report import chain_figures, chain_status
from rpcproxy.app.people.sampling import sample_chain
from rpcproxy.chains import registry
from rpcproxy.config.model import Chain, Server, Upstream
from rpcproxy.edges.disk.journal import JournalRow
from rpcproxy.edges.metrics.metrics import ChainCounters
from rpcproxy.engine.reads.explain import explain
from rpcproxy.engine.sends.rebroadcast import Rebroadcast
from rpcproxy.messages import Head, Request, Verdict
from rpcproxy.rules.sends.journaled import PoolEntry, TransactionState
from rpcproxy.states import ChangeKind
from tests.kits.engine_kit import CHAIN_ID, Behaviour, Engine, Sent, after, answering, virtual
from tests.kits.sends_kit import rebroadcast_of
from tests.kits.toy_kind import SENDS_OF_TOY, TOY, id_of, text

WORD = f"{CHAIN_ID} pay the baker"
KEY = id_of(WORD)
BEFORE = {98: 97, 100: 98, 103: 100, 104: 103, 107: 104}


def block_id(number: int, branch: str = "") -> str:
    return id_of(f"block {branch}{number}")


def head(number: int, branch: str = "") -> Head:
    """A branch has all its blocks for itself."""
    before = BEFORE[number]
    return Head(number, block_id(number, branch), block_id(before, branch), 0, before)


def tell(engine: Engine, told: Head, names: str = "abcd") -> None:
    for name in names:
        engine.observe(name, Verdict.OK, head=told, is_probe=True)


def toy(number: int = 100, *, kind: Any = TOY, **chain: Any) -> Engine:
    """Four upstreams, all at that block."""
    engine = Engine(are_admitted=False, kind=kind, **chain)
    for name in engine.wires:
        engine.observe(name, Verdict.OK, is_probe=True, is_identity=True)
    tell(engine, head(98))
    tell(engine, head(number))
    engine.changes.clear()
    return engine


def json(**members: Any) -> bytes:
    return msgspec.json.encode(members)


def place(number: int, branch: str = "") -> dict[str, Any]:
    return {"height": number, "id": block_id(number, branch)}


def balance(number: int, branch: str = "") -> bytes:
    return json(value="12", place=place(number, branch))


def block(number: int, *entries: str) -> bytes:
    return json(**place(number), before=place(BEFORE[number]), when=0, entries=entries)


def found(number: int, branch: str = "") -> bytes:
    return json(entry=KEY, place=place(number, branch))


def failing_by_body(code: int, words: str, status: int = 500) -> Behaviour:
    return after(0.01, lambda sent: sent.refuse(code, words, status))


# ---- heads


@virtual
async def test_the_head_is_asked_for_in_two_steps_of_one_upstream() -> None:
    engine = toy()
    engine.told._confirmed_at = float("-inf")

    def act(sent: Sent) -> None:
        number = 103 if sent.wire.name == "a" else 100
        tip = msgspec.json.encode(block_id(number))
        sent.reply(tip if sent.method == "tip" else block(number))

    engine.all_behave(after(0.01, act))
    assert (await engine.ask("height").reply())["result"] == 100  # one alone is not believed
    assert [(sent.wire.name, sent.method) for sent in engine.sent] == [("a", "tip"), ("a", "block")]
    assert engine.sent[1].params == [block_id(103)]
    assert engine.standings["a"].track.head == head(103)


@virtual
async def test_heights_without_a_block_link_by_what_blocks_tell_of_the_one_before() -> None:
    engine = toy()
    heads = engine.standings.heads
    tell(engine, head(107))
    assert heads.served == 100, "who knows what it follows"
    tell(engine, head(104), "a")
    tell(engine, head(103), "b")
    await engine.rest(0.2)
    assert heads.served_head == head(107)
    assert heads.turns == 0
    assert [number for number in range(98, 108) if heads.lineage.is_hole(number)] == [
        *(99, 101, 102, 105, 106),
    ]


@virtual
async def test_null_for_a_height_without_a_block_is_the_answer() -> None:
    engine = toy()
    tell(engine, head(103))
    engine.all_behave(answering(b"null"))
    assert (await engine.ask("block_at", text(102)).reply())["result"] is None
    assert engine.asked == "a"


@virtual
async def test_a_block_is_final_at_once() -> None:
    engine = toy()
    assert engine.standings.heads.finality.final == Head(100, block_id(100))
    tell(engine, head(103), "abc")
    assert engine.standings.heads.finality.floor == 103


@virtual
async def test_a_minority_that_forks_is_left_alone_and_its_answers_are_refused() -> None:
    engine = toy()
    tell(engine, head(103), "bcd")
    tell(engine, head(103, "other "), "a")
    tell(engine, head(104), "bcd")
    assert engine.standings.heads.served_head == head(104)
    assert engine.standings.heads.reorgs == 0
    assert engine.standings["a"].is_forked
    engine.all_behave(answering(balance(104)))
    engine.behave(a=answering(balance(104, "other ")))
    reply = await engine.ask("balance", text("me")).reply()
    assert reply["result"]["place"] == place(104)
    # Nor from one whose fork nobody noticed.
    engine.behave(b=answering(balance(104, "other ")))
    reply = await engine.ask("balance", text("you")).reply()
    assert reply["result"]["place"] == place(104)
    assert engine.asked == "bbc"


@virtual
async def test_what_is_final_is_not_left_for_a_majority_that_turns() -> None:
    engine = toy()
    tell(engine, head(103))
    tell(engine, head(104, "other "), "abc")
    tell(engine, head(103, "other "), "abc")
    await engine.rest(5)
    heads = engine.standings.heads
    assert heads.served_head == head(103)
    assert heads.reorgs == 0
    assert set(heads.forked) == set("abc")


@virtual
async def test_machines_a_block_apart_behind_one_url_are_no_fork() -> None:
    engine = toy()
    tell(engine, head(103))
    for number in (100, 103, 100):
        tell(engine, head(number), "a")
        assert not engine.standings["a"].is_forked
    assert engine.changes == [], "nor late: three heights may be one block"


@virtual
async def test_a_chain_that_stands_is_said_to_stand() -> None:
    engine = toy(block_time_seconds=2.0)
    for _ in range(25):
        tell(engine, head(100))
        await engine.rest(1)
    assert engine.standings.heads.pace.is_halted
    assert f" {ChangeKind.CHAIN_HALTED}" in engine.changes
    tell(engine, head(103))
    assert not engine.standings.heads.pace.is_halted


# ---- reads


@virtual
async def test_params_go_as_they_came_and_hashes_are_bare_digits() -> None:
    engine = toy()
    engine.all_behave(answering(block(100)))
    for method, params in (
        ("block", text(block_id(100))),
        ("block_at", b'[ "newest" ]'),
        ("block_at", b"[ 100 ]"),
    ):
        assert (await engine.ask(method, params).reply())["result"]["id"] == block_id(100)
        assert b'"params":' + params in engine.sent[-1].payload
    assert engine.asked == "aaa"


@virtual
async def test_whoever_lacks_the_block_is_not_asked_for_it() -> None:
    engine = toy()
    tell(engine, head(103), "cd")
    await engine.rest(3)
    assert engine.standings.heads.served == 103
    engine.all_behave(answering(block(103)))
    await engine.ask("block_at", text(103)).reply()
    await engine.ask("block_at", text("newest")).reply()
    engine.all_behave(answering(balance(103)))
    await engine.ask("balance", text("me")).reply()
    assert engine.asked == "ccc"


@virtual
async def test_state_of_a_block_before_the_head_is_asked_of_another() -> None:
    engine = toy()
    tell(engine, head(103))
    engine.all_behave(answering(balance(103)))
    engine.behave(a=answering(balance(100)))
    reply = await engine.ask("balance", text("me")).reply()
    assert reply["result"]["place"]["height"] == 103
    assert engine.asked == "ab"


@virtual
async def test_state_of_a_block_that_nobody_told_yet_waits_for_it() -> None:
    engine = toy()
    doubted: list[str] = []
    engine.executor.on_doubt = doubted.append
    engine.all_behave(answering(balance(103)))
    handle = engine.ask("balance", text("me"))
    await engine.rest(0.2)
    assert not handle.is_done
    assert set(doubted) == set("abcd"), "each is asked for its head"
    tell(engine, head(103))
    assert (await handle.reply())["result"]["place"]["height"] == 103


@virtual
async def test_null_for_what_was_seen_is_asked_elsewhere() -> None:
    engine = toy()
    engine.all_behave(answering(found(100)))
    for method in ("entry", "proof"):
        assert (await engine.ask(method, text(KEY)).reply())["result"]["place"] == place(100)
    engine.pipeline.sharing.cache.evict_above(-1)
    engine.pipeline.sharing.on_served()
    engine.behave(a=answering(b"null"))
    asked = len(engine.asked)
    for method in ("entry", "proof"):
        assert (await engine.ask(method, text(KEY)).reply())["result"]["place"] == place(100)
    assert engine.asked[asked::2] == "aa"
    assert len(engine.asked) == asked + 4


@virtual
async def test_a_proof_of_another_branch_is_not_given() -> None:
    engine = toy()
    engine.all_behave(answering(found(100)))
    engine.behave(a=answering(found(100, "other ")), b=answering(found(99)))
    assert (await engine.ask("proof", text(KEY)).reply())["result"]["place"] == place(100)
    assert engine.asked == "abc"


@virtual
async def test_an_error_is_read_by_its_body_under_any_status() -> None:
    engine = toy()
    engine.all_behave(answering(balance(100)))
    engine.behave(a=failing_by_body(7, "that block is not here yet"))
    assert (await engine.ask("balance", text("me")).reply())["result"]["value"] == "12"
    assert engine.asked == "ab"
    assert engine.standings["a"].state == "up"
    engine.all_behave(failing_by_body(9, "bad word", 500))
    error = (await engine.ask("push", text(WORD)).reply())["error"]
    assert error == {"code": 9, "message": "bad word"}


# ---- sends


class Written:
    """A journal that keeps what it was told."""

    trouble = ""
    open_rows: tuple[JournalRow, ...] = ()
    secrets: tuple[tuple[str, bytes], ...] = ()

    def __init__(self) -> None:
        self.rows: list[JournalRow] = []
        self.states: list[tuple[str, int]] = []

    async def add(self, row: JournalRow) -> None:
        self.rows.append(row)

    def note(self, _hash: str, state: str, block: int, _said: dict[str, str]) -> None:
        self.states.append((state, block))

    async def settle(self, _hash: str, state: str, block: int, _said: dict[str, str]) -> None:
        self.states.append((state, block))


def entry_of(engine: Engine) -> PoolEntry:
    entry = engine.ledger.pool.get(KEY)
    assert entry is not None
    return entry


async def pushed(engine: Engine) -> tuple[Written, Rebroadcast]:
    """A word is sent, and every upstream takes it."""
    journal = Written()
    engine.ledger.on_journal(journal)  # type: ignore[arg-type] - what is used of a journal
    engine.all_behave(answering(json(pushed=KEY)))
    assert (await engine.ask("push", text(WORD)).reply())["result"] == {"pushed": KEY}
    return journal, rebroadcast_of(engine, SENDS_OF_TOY)


@virtual
async def test_a_send_is_journaled_copied_found_in_its_block_and_final_at_once() -> None:
    engine = toy()
    journal, rebroadcast = await pushed(engine)
    (row,) = journal.rows
    assert (row.hash, row.raw, row.lane, row.order) == (KEY, WORD.encode(), "", -1)
    assert [sent.params for sent in engine.sent] == [[WORD]] * 3
    assert len({sent.wire.name for sent in engine.sent}) == 3
    blocks = {100: block(100), 103: block(103, KEY)}

    def answer(sent: Sent) -> None:
        sent.reply(blocks[sent.params[0]] if sent.method == "block_at" else found(103))

    engine.all_behave(after(0.01, answer))
    rebroadcast._read_to = 98
    await rebroadcast._look()
    entry = entry_of(engine)
    assert entry.state is TransactionState.SENT
    tell(engine, head(103))
    await rebroadcast._look()
    read = [sent.params for sent in engine.sent if sent.method == "block_at"]
    assert read == [[100], [103]], "heights without a block are not asked for"
    assert (entry.block, entry.block_hash) == (103, block_id(103))
    assert entry.state is TransactionState.FINAL
    assert journal.states[-1] == ("final", 103)
    reply = await engine.ask("entry", text(KEY)).reply()
    assert reply["result"]["place"] == place(103)


@virtual
async def test_a_send_that_no_pool_shows_is_shown_as_waiting() -> None:
    engine = toy()
    await pushed(engine)
    engine.all_behave(answering(b"null"))
    assert (await engine.ask("entry", text(KEY)).reply())["result"] == {"entry": KEY, "place": None}
    assert (await engine.ask("proof", text(KEY)).reply())["result"] is None


@virtual
async def test_a_send_that_is_known_already_is_a_yes() -> None:
    engine = toy()
    engine.all_behave(failing_by_body(3, "queued already"))
    assert (await engine.ask("push", text(WORD)).reply())["result"] == {"pushed": KEY}


@virtual
async def test_what_no_node_can_take_is_refused_in_the_words_of_its_kind() -> None:
    engine = toy()
    error = (await engine.ask("push", text("8 pay the baker")).reply())["error"]
    assert error["message"] == "wrong network (not sent: it is not for network 7)"
    assert engine.asked == ""


@virtual
async def test_two_sends_in_no_lane_are_instead_of_nothing() -> None:
    engine = toy()
    await pushed(engine)
    other = f"{CHAIN_ID} pay the butcher"
    engine.all_behave(answering(json(pushed=id_of(other))))
    await engine.ask("push", text(other)).reply()
    assert [entry.state for entry in engine.ledger.pool.all_pending()] == [
        TransactionState.SENT
    ] * 2


# ---- reloads, and all of it together


@virtual
async def test_a_reload_forgets_nothing() -> None:
    old = toy()
    tell(old, head(103))
    old.all_behave(answering(found(103)))
    await old.ask("entry", text(KEY)).reply()
    engine = Engine(are_admitted=False, kind=TOY)
    engine.adopt(old)
    heads = engine.standings.heads
    assert (heads.served_head, heads.finality.floor) == (head(103), 103)
    assert heads.lineage.skips
    engine.pipeline.sharing.cache.evict_above(-1)
    engine.all_behave(answering(found(103)))
    engine.behave(a=answering(b"null"))
    assert (await engine.ask("entry", text(KEY)).reply())["result"]["place"] == place(103)
    assert engine.asked == "ab"
    tell(engine, head(104))
    assert heads.served_head == head(104)
    old.close()
    engine.close()


async def test_the_root_of_a_chain_puts_it_together(monkeypatch: Any) -> None:
    monkeypatch.setitem(registry.KINDS, TOY.name, TOY)
    upstreams = tuple(Upstream(name=n, provider=n, url=f"http://127.0.0.1:9/{n}") for n in "ab")
    chain = Chain(name="toy", chain_id=CHAIN_ID, upstreams=upstreams)
    chain = chain.model_copy(update={"kind": TOY.name})
    old = ChainRuntime(chain, Server(), ChainCounters())
    new = ChainRuntime(chain, Server(), ChainCounters(), old=old)
    assert new.kind is TOY
    now = new.standings._now
    assert chain_status(new, now, 0.0)["state"] == "down"
    assert chain_figures(new, now, 0.0)
    assert sample_chain(new, now, 0.0)
    assert explain(new.pipeline, Request("balance", b"1", text("me")))
    assert new.graph.rebroadcast is not None
    assert new.longest_seconds > 0
    await old.close(new.held)
    await new.close()
    await asyncio.sleep(0)
