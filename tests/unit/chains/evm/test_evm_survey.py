"""What a check asks of EVM upstreams, held against what nodes and contracts read."""

from __future__ import annotations

import json

from eth_abi import decode  # type: ignore[attr-defined]

from rpcproxy.chains.evm.survey_questions import (
    LOG_BLOCKS,
    MULTICALL_BYTES,
    SURVEY,
    balance_at,
    logs_until,
    multicall,
)


def test_the_multicall_is_one_and_as_large_as_said() -> None:
    params = multicall().params
    assert 21 * 1024 < len(params) <= MULTICALL_BYTES
    call, block = json.loads(params)
    data = bytes.fromhex(call["data"][2:])
    assert (block, data[:4].hex()) == ("latest", "82ad56cb")
    (entries,) = decode(["(address,bool,bytes)[]"], data[4:])
    assert len(entries) > 40
    assert set(entries) == {(call["to"], True, bytes.fromhex("4d2301cc") + bytes(32))}


def test_params_of_the_small_questions() -> None:
    (query,) = json.loads(logs_until(5000).params)
    first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
    assert (last, last - first + 1) == (5000, LOG_BLOCKS)
    assert json.loads(logs_until(10).params)[0]["fromBlock"] == "0x0"
    assert json.loads(balance_at(26).params) == ["0x" + "00" * 20, "0x1a"]


def test_who_answers_something_else_names_no_software() -> None:
    assert SURVEY.version is not None
    assert SURVEY.version.read(b'"Node/v1"') == "Node/v1"
    assert SURVEY.version.read(b"1") is None
    assert SURVEY.version.read(b'"\xff"') is None
