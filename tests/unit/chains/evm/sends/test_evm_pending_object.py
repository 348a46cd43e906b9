import json
from pathlib import Path

import pytest

from rpcproxy.chains.evm.sends.pending_object import pending_object
from rpcproxy.chains.evm.sends.signed import SignedTransaction, decode
from tests.kits.signed_transactions import (
    CHAIN,
    HASHES,
    LENT,
    RAW,
    SENDER,
    SIGNED,
    TO,
    WANTED,
    as_hex,
    written,
)

PAIRS = Path(__file__).parents[6] / "shared/corpora/execution-apis"


@pytest.mark.parametrize("kind", WANTED)
def test_the_pending_object_says_what_was_signed(kind):
    type, wanted = WANTED[kind]
    told = json.loads(pending_object(decode(as_hex(RAW[kind]), CHAIN)))
    signed = SIGNED[kind]
    expected = {
        **dict.fromkeys(("blockHash", "blockNumber", "blockTimestamp", "transactionIndex")),
        "from": SENDER,
        "hash": signed.hash.to_0x_hex(),
        "gas": hex(wanted["gas"]),
        "gasPrice": hex(wanted.get("gasPrice", 3)),
        "input": "0x" + (b"hello" * 20).hex(),
        "nonce": "0x7",
        "to": wanted.get("to"),
        "value": "0x5",
        "type": hex(type),
        "v": hex(signed.v),
        "r": hex(signed.r),
        "s": hex(signed.s),
    }
    if "chainId" in wanted:
        expected["chainId"] = "0x1"
    if type > 0:
        expected |= {"yParity": hex(signed.v), "accessList": wanted.get("accessList", [])}
    if type > 1:
        expected |= {"maxFeePerGas": "0x3", "maxPriorityFeePerGas": "0x2"}
    if type == 3:
        expected |= {"maxFeePerBlobGas": "0x9", "blobVersionedHashes": HASHES}
    if type == 4:
        lent = {"chainId": "0x1", "address": TO, "nonce": "0x0", "yParity": hex(LENT.y_parity)}
        expected["authorizationList"] = [{**lent, "r": hex(LENT.r), "s": hex(LENT.s)}]
    assert told == expected


def test_the_engine_finds_it_behind_the_one_door():
    transaction = decode(as_hex(RAW["1559"]), CHAIN)
    assert isinstance(transaction, SignedTransaction)
    assert pending_object(transaction) == pending_object(transaction)


def _answer(file):
    lines = file.read_text().splitlines()
    asked = json.loads(next(line for line in lines if line.startswith(">>"))[3:])
    told = json.loads(next(line for line in lines if line.startswith("<<"))[3:])
    return asked.get("params"), told["result"]


@pytest.mark.skipif(not PAIRS.is_dir(), reason="the execution-apis pairs are not here")
def test_the_pending_object_is_geths_to_the_byte():
    raw_by_hash = {}
    for file in (PAIRS / "eth_sendRawTransaction").glob("*.io"):
        (raw,), hash = _answer(file)
        raw_by_hash[hash] = raw
    _, content = _answer(PAIRS / "txpool_content/get-content.io")
    waiting = [one for by_nonce in content["pending"].values() for one in by_nonce.values()]
    compared = set()
    for geths in waiting:
        if raw := raw_by_hash.get(geths["hash"]):
            ours = pending_object(decode(raw, int(geths["chainId"], 16)))
            assert ours.decode() == json.dumps(geths, separators=(",", ":"))
            compared.add(geths["type"])
    assert compared >= {"0x0", "0x1", "0x2"}
    blob = next(raw for raw in raw_by_hash.values() if raw.startswith("0x03"))
    assert decode(blob, int(waiting[0]["chainId"], 16)).hash in raw_by_hash


@pytest.mark.skipif(not PAIRS.is_dir(), reason="the execution-apis pairs are not here")
@pytest.mark.parametrize(
    "name", ["access-list", "blob-tx", "dynamic-fee", "legacy-create", "setcode-tx"]
)
def test_what_geth_tells_of_a_mined_transaction(name):
    _, geths = _answer(PAIRS / f"eth_getTransactionByHash/get-{name}.io")
    type, chain_id = int(geths["type"], 16), int(geths.get("chainId", "0x1"), 16)
    raw = written(type, _fields_of(geths))
    transaction = decode(as_hex(raw), chain_id)
    assert (transaction.hash, transaction.lane) == (geths["hash"], geths["from"])
    ours = json.loads(pending_object(transaction))
    for where in ("blockHash", "blockNumber", "blockTimestamp", "transactionIndex"):
        assert ours.pop(where, 0) is None
        del geths[where]
    if type > 1:  # mined: what it did pay
        assert ours.pop("gasPrice") == ours["maxFeePerGas"]
        del geths["gasPrice"]
    assert ours == geths


def _fields_of(told):
    def number(name, of=told):
        return int(of[name], 16)

    def octets(text):
        return bytes.fromhex(text[2:])

    type = number("type")
    prices = ["maxPriorityFeePerGas", "maxFeePerGas"] if type > 1 else ["gasPrice"]
    fields = [number("chainId")] if type else []
    fields += [number(name) for name in ("nonce", *prices, "gas")]
    fields += [octets(told["to"] or "0x"), number("value"), octets(told["input"])]
    if type:
        fields.append(
            [
                [octets(entry["address"]), [octets(key) for key in entry["storageKeys"]]]
                for entry in told["accessList"]
            ]
        )
    if type == 3:
        hashes = [octets(each) for each in told["blobVersionedHashes"]]
        fields += [number("maxFeePerBlobGas"), hashes]
    if type == 4:
        fields.append(
            [
                [
                    *(number("chainId", lent), octets(lent["address"]), number("nonce", lent)),
                    *(number(name, lent) for name in ("yParity", "r", "s")),
                ]
                for lent in told["authorizationList"]
            ]
        )
    return [*fields, number("v"), number("r"), number("s")]
