"""JSON-RPC towards clients, end to end: ids, notifications, batches, what is no request at all."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator

import msgspec
import pytest
from eth_account import Account

from tests.integration.rpc_kit import (
    CHAIN_ID,
    Call,
    Post,
    Sent,
    Upstream,
    Wallet,
    a_proxy,
    array,
    each,
    ok,
    on_uvloop,
    request,
    wrong,
)

IDS = (
    *(b"0", b"-1", b"1.50", b"1e3", b"-0", b"123456789012345678901234567890", b"1E+400"),
    *(b'"a\\"b\\u0041"', b'""', b"null", b'"1"', b'"\\ud83d\\ude00"', '"é"'.encode(), b'" "'),
)
SENT = Account.sign_transaction(
    {"nonce": 0, "gas": 21000, "gasPrice": 7, "to": "0x" + "22" * 20, "value": 1, "chainId": 7},
    "0x" + "11" * 32,
)
RAW_PARAMS = b'["%b"]' % SENT.raw_transaction.to_0x_hex().encode()
HASH = b'"%b"' % SENT.hash.to_0x_hex().encode()


def echo(call: Call) -> bytes:
    """A balance that tells which account was asked for; `0xbad…` reverts."""
    if call.method == "eth_sendRawTransaction":
        return ok(call, HASH)
    account = msgspec.json.decode(call.params)[0] if call.params != b"[]" else "0x"
    if account.startswith("0xbad"):
        return wrong(call, 3, "execution reverted", data="0x08c379a0")
    return ok(call, b'"0x1%b"' % account[2:].encode())


def balance(id: bytes, account: int) -> bytes:
    return request("eth_getBalance", b'["0x%x","latest"]' % account, id)


def balance_of(id: bytes, account: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":"0x1%x"}' % (id, account)


@contextlib.asynccontextmanager
async def two(**given: object) -> AsyncIterator[tuple[Wallet, Upstream, Upstream]]:
    async with (
        Upstream(each(echo), "a") as a,
        Upstream(each(echo), "b") as b,
        a_proxy(a, b, **given) as wallet,
    ):
        yield wallet, a, b


def codes(body: bytes) -> list[tuple[object, object]]:
    """Id and error code of each reply; every error says why in `data.reason`."""
    replies = msgspec.json.decode(body)
    found = []
    for reply in replies if isinstance(replies, list) else [replies]:
        error = reply.get("error")
        if error is not None:
            assert error["data"]["reason"] == error["message"] != ""
        found.append((reply["id"], error and error["code"]))
    return found


# ---- ids


@on_uvloop
async def test_every_notation_of_an_id_comes_back_as_it_was() -> None:
    async with two() as (wallet, a, _):
        for id in IDS:
            assert await wallet.ask(balance(id, 5)) == balance_of(id, 5)
            local = b'{"jsonrpc":"2.0","id":%b,"result":"0x7"}' % id
            assert await wallet.ask(request("eth_chainId", id=id)) == local
            start = b'{"jsonrpc":"2.0","id":%b,"error":{"code":' % id
            assert (await wallet.ask(request("eth_call", b'["0xbad"]', id))).startswith(
                start + b"3,"
            )
            assert (await wallet.ask(request("eth_sign", id=id))).startswith(start + b"-32601,")
            assert (await wallet.ask(request("eth_subscribe", id=id))).startswith(
                start + b"-32601,"
            )
            spaced = b' { "params" : [ "0x9" ] , "id" :\t%b , "method":"eth_getBalance" }\r\n' % id
            assert await wallet.ask(spaced) == balance_of(id, 9)
        # What an upstream sees are ids of our own.
        assert all(bytes(call.id).isdigit() for call in a.calls)
        assert len({bytes(call.id) for call in a.calls}) == len(a.calls)


@on_uvloop
async def test_the_same_in_a_batch() -> None:
    async with two() as (wallet, _, _):
        members, expected = [], []
        for index, id in enumerate(IDS):
            members += [balance(id, index), request("eth_chainId", id=id)]
            expected += [
                balance_of(id, index),
                b'{"jsonrpc":"2.0","id":%b,"result":"0x%x"}' % (id, CHAIN_ID),
            ]
        assert await wallet.ask(array(members)) == array(expected)


@on_uvloop
async def test_equal_ids_in_a_batch_are_kept_apart() -> None:
    async with two() as (wallet, a, b):
        ids = [b"1", b"1", b'"1"', b"1.0", b"1", b"null", b"null"]
        members = [balance(id, index) for index, id in enumerate(ids)]
        expected = [balance_of(id, index) for index, id in enumerate(ids)]
        assert await wallet.ask(array(members)) == array(expected)
        assert (a.shapes, b.shapes) == ([7], [])


# ---- notifications


@on_uvloop
async def test_a_notification_has_no_reply() -> None:
    async with two() as (wallet, a, b):
        for method in ("eth_gasPrice", "eth_chainId", "eth_sign", "eth_blockNumber"):
            response = await wallet.post(b'{"jsonrpc":"2.0","method":"%b"}' % method.encode())
            assert (response.status, response.body) == (200, b"")
        assert a.calls == b.calls == []  # nobody would see what a read brings
        send = b'{"jsonrpc":"2.0","method":"eth_sendRawTransaction","params":%b}' % RAW_PARAMS
        assert await wallet.ask(send) == b""
        assert a.methods == b.methods == ["eth_sendRawTransaction"]


@on_uvloop
async def test_notifications_within_a_batch() -> None:
    notes = [
        b'{"jsonrpc":"2.0","method":"eth_getBalance","params":["0x1","latest"]}',
        b'{"jsonrpc":"2.0","method":"eth_chainId"}',
        b'{"jsonrpc":"2.0","method":"eth_getLogs","params":[{}]}',
        b'{"jsonrpc":"2.0","method":"eth_sign"}',
    ]
    async with two() as (wallet, a, b):
        assert await wallet.ask(array(notes)) == b""
        assert await wallet.ask(array(notes[:1])) == b""
        assert a.calls == b.calls == []
        mixed = [notes[0], balance(b"1", 1), *notes[1:], request("eth_chainId", id=b"2")]
        assert await wallet.ask(array(mixed)) == array(
            [balance_of(b"1", 1), b'{"jsonrpc":"2.0","id":2,"result":"0x7"}']
        )
        send = b'{"jsonrpc":"2.0","method":"eth_sendRawTransaction","params":%b}' % RAW_PARAMS
        assert await wallet.ask(array([*notes, send])) == b""
        assert b.methods == ["eth_sendRawTransaction"]


@on_uvloop
async def test_a_send_answers_the_hash_in_singles_and_batches() -> None:
    async with two() as (wallet, a, b):
        send = request("eth_sendRawTransaction", RAW_PARAMS, b'"s"')
        reply = b'{"jsonrpc":"2.0","id":"s","result":%b}' % HASH
        assert await wallet.ask(send) == reply
        assert await wallet.ask(array([balance(b"1", 1), send])) == array(
            [balance_of(b"1", 1), reply]
        )
        # The second time it was known to be sent.
        assert a.methods.count("eth_sendRawTransaction") == 1
        assert b.methods.count("eth_sendRawTransaction") == 1


# ---- what is no request


NO_REQUESTS = (
    (b"", 400, None, -32700),
    (b"   ", 400, None, -32700),
    (b"{", 400, None, -32700),
    (b'{"id":1,"method":"eth_gasPrice"', 400, None, -32700),
    (b'{"id":1,"method":"eth_gasPrice"}}', 400, None, -32700),
    (b'[{"id":1,"method":"eth_gasPrice"},]', 400, None, -32700),
    (b'{"id":01,"method":"eth_gasPrice"}', 400, None, -32700),
    (b'{"id":1,"method":"\xff"}', 400, None, -32700),
    (b'{"id":1,"method":"eth_call","params":["\xff"]}', 400, None, -32700),
    (b"[" * 5000, 400, None, -32700),
    (b"eth_gasPrice", 400, None, -32700),
    (b"[]", 200, None, -32600),
    (b" [ ] ", 200, None, -32600),
    (b"1", 200, None, -32600),
    (b"null", 200, None, -32600),
    (b'"eth_gasPrice"', 200, None, -32600),
    (b"{}", 200, None, -32600),
    (b'{"id":5}', 200, 5, -32600),
    (b'{"id":5,"method":7}', 200, 5, -32600),
    (b'{"id":5,"method":null}', 200, 5, -32600),
    (b'{"id":[5],"method":"eth_gasPrice"}', 200, None, -32600),
    (b'{"id":{},"method":"eth_gasPrice"}', 200, None, -32600),
    (b'{"id":true,"method":"eth_gasPrice"}', 200, None, -32600),
    (b'{"id":5,"method":"eth_gasPrice","params":"0x1"}', 200, 5, -32600),
    (b'{"id":5,"method":"eth_gasPrice","params":1}', 200, 5, -32600),
)


@on_uvloop
async def test_what_is_no_request_is_refused_in_words() -> None:
    async with two() as (wallet, a, b):
        for body, status, id, code in NO_REQUESTS:
            response = await wallet.post(body)
            assert (response.status, codes(response.body)) == (status, [(id, code)]), body
        assert a.calls == b.calls == []
        assert await wallet.ask(balance(b"1", 1)) == balance_of(b"1", 1)


@on_uvloop
async def test_invalid_members_do_not_harm_the_others() -> None:
    members = [
        balance(b"1", 1),
        *(b"1", b'"x"', b"null", b"{}", b"[]", b'{"id":5}', b'{"id":6,"method":1}', b"true"),
        array([balance(b"2", 2)]),  # a batch within a batch
        b'{"id":[],"method":"eth_gasPrice"}',
        b'{"id":7,"method":"eth_gasPrice","params":"x"}',
        balance(b"8", 8),
        request("eth_sign", id=b"9"),
    ]
    async with two() as (wallet, a, b):
        body = await wallet.ask(array(members))
        replies = msgspec.json.decode(body, type=list[msgspec.Raw])
        assert len(replies) == len(members)
        assert bytes(replies[0]) == balance_of(b"1", 1)
        assert bytes(replies[12]) == balance_of(b"8", 8)
        nameless = [(None, -32600)]
        told = [(5, -32600), (6, -32600), *nameless, *nameless, *nameless, (7, -32600)]
        assert codes(array(replies[1:12])) == [*nameless * 5, *told]
        assert codes(array(replies[13:])) == [(9, -32601)]
        assert (a.shapes, b.shapes) == ([2], [])
        # Nothing but invalid members is answered from memory.
        assert codes(await wallet.ask(b"[1,2,3]")) == nameless * 3


@on_uvloop
async def test_a_batch_over_the_limit_is_413() -> None:
    async with two() as (wallet, a, b):
        most = [balance(b"%d" % index, index) for index in range(1000)]
        expected = [balance_of(b"%d" % index, index) for index in range(1000)]
        assert await wallet.ask(array(most)) == array(expected)
        assert sum(a.shapes) + sum(b.shapes) == 1000
        assert max(a.shapes + b.shapes) <= 100
        a.forget()
        response = await wallet.post(array([*most, balance(b"1000", 0)]))
        assert (response.status, codes(response.body)) == (413, [(None, -32600)])
        assert b"more than 1000 requests" in response.body  # what is too much is not read
        assert a.calls == []


@pytest.mark.parametrize("size", [1, 2, 7, 99, 100, 101, 250])
@on_uvloop
async def test_every_member_gets_its_own_reply_in_order(size: int) -> None:
    """Light and heavy reads, local answers, reverts and notifications in any mixture."""

    def heavy(id: bytes, account: int) -> bytes:
        return request("eth_getProof", b'["0x%x"]' % account, id)

    def proof(call: Call) -> bytes:
        account = msgspec.json.decode(call.params)[0]
        return (
            ok(call, b'{"of":"%b"}' % account.encode())
            if call.method == "eth_getProof"
            else echo(call)
        )

    async with two() as (wallet, a, b):
        a.script = b.script = each(proof)
        members, expected = [], []
        kinds = itertools.cycle("lhlcnrl")
        for index, kind in zip(range(size), kinds, strict=False):
            id = b"%d" % index
            if kind == "l":
                members.append(balance(id, index))
                expected.append(balance_of(id, index))
            elif kind == "h":
                members.append(heavy(id, index))
                expected.append(b'{"jsonrpc":"2.0","id":%b,"result":{"of":"0x%x"}}' % (id, index))
            elif kind == "c":
                members.append(request("eth_chainId", id=id))
                expected.append(b'{"jsonrpc":"2.0","id":%b,"result":"0x7"}' % id)
            elif kind == "r":
                members.append(request("eth_call", b'["0xbad"]', id))
                error = b'{"code":3,"message":"execution reverted","data":"0x08c379a0"}'
                expected.append(b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id, error))
            else:
                members.append(b'{"method":"eth_gasPrice"}')
        assert await wallet.ask(array(members)) == array(expected)


@on_uvloop
async def test_a_send_that_hangs_at_one_upstream_ends_with_the_proxy() -> None:
    """The first yes answers; the other copy goes on, but not past the proxy's own end, which
    ``a_proxy`` looks after.
    """

    def hang(post: Post) -> Sent:
        return Sent(b"{", cut_at=0, end="stall")

    async with two() as (wallet, a, b):
        a.script = hang
        body = await wallet.ask(request("eth_sendRawTransaction", RAW_PARAMS))
        assert body == b'{"jsonrpc":"2.0","id":1,"result":%b}' % HASH
        assert a.methods == b.methods == ["eth_sendRawTransaction"]
