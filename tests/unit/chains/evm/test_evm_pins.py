import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from rpcproxy.chains.evm.blocks import RANGED
from rpcproxy.chains.evm.methods import METHODS, describe
from rpcproxy.chains.evm.pins import EVM_PINS, EvmHeights, pin
from rpcproxy.chains.parts.asked_at import EARLIEST, FINALIZED, HASH, LATEST, NONE, PENDING, SAFE
from rpcproxy.chains.registry import EVM

ADDRESS = "0x" + "ab" * 20
SLOT = "0x" + "00" * 32
BLOCK_HASH = "0x" + "cd" * 32
CALL = {"to": ADDRESS, "data": "0x12"}
DEEP_CALL = {"to": ADDRESS, "accessList": [{"address": ADDRESS, "storageKeys": []}]}
STRANGE_CALL = {"to": ADDRESS, "data": '},"latest"]'}
OVERRIDES = {ADDRESS: {"balance": "0x0F", "code": "latest"}}
BY_HASH = {"blockHash": BLOCK_HASH, "requireCanonical": True}

HEIGHTS = EvmHeights.of(0x10, 0xC, 0x8)
UNKNOWN = EvmHeights.of(-1)

SEPARATORS = [(",", ":"), (", ", ": ")]


def dump(value, separators=(",", ":")):
    return json.dumps(value, separators=separators).encode()


def test_settled_blocks_come_in_the_order_of_the_kind():
    finalized, safe = 8, 12
    assert EVM.traits.anchors == ("finalized", "safe")
    assert EVM_PINS.heights(16, (finalized, safe), "") == HEIGHTS
    assert EVM_PINS.heights(-1, (), "") == UNKNOWN


def test_the_texts_of_the_heights():
    assert (HEIGHTS.latest, HEIGHTS.safe, HEIGHTS.finalized) == (16, 12, 8)
    assert HEIGHTS.latest_text == b'"0x10"'
    assert EvmHeights.of(0).latest_text == b'"0x0"'
    assert UNKNOWN.latest_text == b""


@pytest.mark.parametrize("separators", SEPARATORS)
@pytest.mark.parametrize("as_raw", [True, False])
@pytest.mark.parametrize(
    ("name", "params", "pinned", "block"),
    [
        # The second of two
        ("eth_call", [CALL, "latest"], [CALL, "0x10"], 16),
        ("eth_call", [CALL, "safe"], [CALL, "0xc"], 12),
        ("eth_call", [CALL, "finalized"], [CALL, "0x8"], 8),
        ("eth_call", [CALL, "earliest"], [CALL, "0x0"], 0),
        ("eth_call", [CALL, "0x0A"], [CALL, "0xa"], 10),
        ("eth_call", [CALL, "0X0a"], [CALL, "0xa"], 10),
        ("eth_call", [CALL, "0x000"], [CALL, "0x0"], 0),
        ("eth_call", [CALL, "0xa"], [CALL, "0xa"], 10),
        ("eth_call", [CALL, "0x999"], [CALL, "0x999"], 0x999),
        ("eth_call", [CALL], [CALL, "0x10"], 16),
        ("eth_call", [CALL, None], [CALL, "0x10"], 16),
        ("eth_call", [{}, "latest"], [{}, "0x10"], 16),
        ("eth_call", [DEEP_CALL, "latest"], [DEEP_CALL, "0x10"], 16),
        ("eth_call", [STRANGE_CALL, "latest"], [STRANGE_CALL, "0x10"], 16),
        ("eth_call", [STRANGE_CALL], [STRANGE_CALL, "0x10"], 16),
        ("eth_getBalance", [ADDRESS, "latest"], [ADDRESS, "0x10"], 16),
        ("eth_getBalance", [ADDRESS, "0x00f"], [ADDRESS, "0xf"], 15),
        ("eth_getBalance", [ADDRESS], [ADDRESS, "0x10"], 16),
        ("eth_getBalance", ["latest"], ["latest", "0x10"], 16),
        ("eth_getBalance", ["a,b", "latest"], ["a,b", "0x10"], 16),
        ("eth_getTransactionCount", [ADDRESS, "finalized"], [ADDRESS, "0x8"], 8),
        ("eth_getCode", [ADDRESS, "latest"], [ADDRESS, "0x10"], 16),
        ("eth_estimateGas", [CALL], [CALL, "0x10"], 16),
        ("eth_createAccessList", [CALL, "latest"], [CALL, "0x10"], 16),
        ("eth_simulateV1", [{"blockStateCalls": []}], [{"blockStateCalls": []}, "0x10"], 16),
        # What follows the block stays
        ("eth_call", [CALL, "latest", OVERRIDES], [CALL, "0x10", OVERRIDES], 16),
        ("eth_call", [CALL, None, OVERRIDES, {}], [CALL, "0x10", OVERRIDES, {}], 16),
        ("eth_call", [CALL, "0x5", "latest"], [CALL, "0x5", "latest"], 5),
        ("eth_feeHistory", ["0x05", "latest", [10.5]], ["0x05", "0x10", [10.5]], 16),
        ("eth_feeHistory", ["0x5", "latest"], ["0x5", "0x10"], 16),
        ("eth_feeHistory", [5, "latest"], [5, "0x10"], 16),
        ("debug_traceCall", [CALL, "latest", {}], [CALL, "0x10", {}], 16),
        # EIP-1898
        ("eth_call", [CALL, {"blockNumber": "latest"}], [CALL, "0x10"], 16),
        ("eth_call", [CALL, {"blockNumber": "0x0f"}], [CALL, "0xf"], 15),
        ("eth_call", [CALL, {"blockNumber": "safe"}], [CALL, "0xc"], 12),
        # The third
        ("eth_getStorageAt", [ADDRESS, SLOT, "latest"], [ADDRESS, SLOT, "0x10"], 16),
        ("eth_getStorageAt", [ADDRESS, SLOT, "0x0f"], [ADDRESS, SLOT, "0xf"], 15),
        ("eth_getStorageAt", [ADDRESS, "0x0", "0xf"], [ADDRESS, "0x0", "0xf"], 15),
        ("eth_getStorageAt", [ADDRESS, "latest"], [ADDRESS, "latest", "0x10"], 16),
        ("eth_getStorageAt", ["a,b", 'c"', "latest"], ["a,b", 'c"', "0x10"], 16),
        ("eth_getProof", [ADDRESS, [SLOT], "latest"], [ADDRESS, [SLOT], "0x10"], 16),
        ("trace_call", [CALL, ["trace"]], [CALL, ["trace"], "0x10"], 16),
        ("trace_call", [CALL, ["trace"], "0x06"], [CALL, ["trace"], "0x6"], 6),
        # The first
        ("eth_getBlockByNumber", ["latest", False], ["0x10", False], 16),
        ("eth_getBlockByNumber", ["latest", True], ["0x10", True], 16),
        ("eth_getBlockByNumber", ["finalized", True], ["0x8", True], 8),
        ("eth_getBlockByNumber", ["0x10", True], ["0x10", True], 16),
        ("eth_getBlockByNumber", ["0x010", True], ["0x10", True], 16),
        ("eth_getBlockReceipts", ["latest"], ["0x10"], 16),
        ("eth_getBlockReceipts", [], ["0x10"], 16),
        (
            "eth_getTransactionByBlockNumberAndIndex",
            ["latest", "0x00"],
            ["0x10", "0x00"],
            16,
        ),
        ("debug_traceBlockByNumber", ["latest", {"a": 1}], ["0x10", {"a": 1}], 16),
        ("zks_getBlockDetails", [42], [42], 42),
    ],
)
def test_tags_become_numbers(name, params, pinned, block, as_raw, separators):
    text = dump(params, separators)
    found = pin(describe(name), msgspec.Raw(text) if as_raw else text, HEIGHTS)
    assert found.block == block
    assert type(found.params) is bytes
    assert json.loads(found.params) == pinned
    assert found.is_ambiguous == ("earliest" in params)
    assert pin(describe(name), found.params, HEIGHTS) == replace(found, is_ambiguous=False)


@pytest.mark.parametrize(
    ("name", "params", "block"),
    [
        ("eth_call", [CALL, "pending"], PENDING),
        ("eth_call", [CALL, {"blockNumber": "pending"}], PENDING),
        ("eth_call", [CALL, BY_HASH], HASH),
        ("eth_call", [CALL, BLOCK_HASH, OVERRIDES], HASH),
        ("eth_call", [CALL, "LATEST"], NONE),
        ("eth_call", [CALL, ""], NONE),
        ("eth_call", [CALL, "0x" + "f" * 17], NONE),
        ("eth_call", [CALL, 2**64], NONE),
        ("eth_call", [CALL, -1], NONE),
        ("eth_call", [CALL, 1.5], NONE),
        ("eth_call", [CALL, True], NONE),
        ("eth_call", [CALL, {"blockNumber": 3}], NONE),
        ("eth_call", [CALL, ["latest"]], NONE),
        ("eth_call", [], NONE),
        ("eth_call", None, NONE),
        ("eth_call", CALL, NONE),
        ("eth_call", "latest", NONE),
        ("eth_call", [CALL, ',"latest"]'], NONE),
        ("eth_getStorageAt", [ADDRESS], NONE),
        ("eth_getProof", [], NONE),
        ("eth_getBlockByNumber", ["pending", False], PENDING),
        ("eth_getBlockReceipts", [BLOCK_HASH], HASH),
        ("eth_getTransactionReceipt", [BLOCK_HASH], NONE),
        ("eth_gasPrice", [], NONE),
        ("alchemy_simulateExecution", ["FLAT", CALL, "latest"], NONE),
        ("ots_getContractCreator", [ADDRESS], NONE),
        ("eth_getLogs", [{"fromBlock": "0x1", "toBlock": "pending"}], PENDING),
        ("eth_getLogs", [{"fromBlock": "pending"}], PENDING),
        ("eth_getLogs", [{"blockHash": BLOCK_HASH}], HASH),
        ("eth_getLogs", [{"fromBlock": "x"}], NONE),
        ("eth_getLogs", [{"fromBlock": BLOCK_HASH}], NONE),
        ("eth_getLogs", ["latest"], NONE),
        ("eth_getLogs", [], LATEST),
        # Tags in the wrong order are for the upstream to judge
        ("eth_getLogs", [{"fromBlock": "0x11", "toBlock": "latest"}], LATEST),
        ("eth_getLogs", [{"fromBlock": "0x11", "toBlock": "finalized"}], FINALIZED),
        ("eth_getLogs", [{"fromBlock": "latest", "toBlock": "0x5"}], LATEST),
        ("eth_getLogs", [{"fromBlock": "safe", "toBlock": "0x5"}], SAFE),
        # A start left out means latest to one node and the first block to another
        ("trace_filter", [{"toBlock": "0x5"}], LATEST),
        ("trace_filter", [{"toBlock": "pending"}], PENDING),
    ],
)
def test_what_is_left_as_it_came(name, params, block):
    for separators in SEPARATORS:
        text = dump(params, separators)
        assert pin(describe(name), text, HEIGHTS) == pin(describe(name), text, UNKNOWN)
        found = pin(describe(name), text, HEIGHTS)
        assert (found.params, found.block) == (text, block)


@pytest.mark.parametrize(
    ("name", "params", "block"),
    [
        ("eth_call", [CALL, "latest"], LATEST),
        ("eth_call", [CALL], LATEST),
        ("eth_call", [CALL, "safe"], SAFE),
        ("eth_getBalance", [ADDRESS, "latest"], LATEST),
        ("eth_getBalance", [ADDRESS, "finalized"], FINALIZED),
        ("eth_getStorageAt", [ADDRESS, SLOT, "latest"], LATEST),
        ("eth_getBlockByNumber", ["latest", False], LATEST),
        ("eth_getBlockByNumber", [], LATEST),
        ("eth_getLogs", [{"fromBlock": "0x1"}], LATEST),
        ("eth_getLogs", [{"fromBlock": "safe", "toBlock": "0x9"}], SAFE),
        ("eth_getLogs", [{"fromBlock": "safe", "toBlock": "finalized"}], FINALIZED),
    ],
)
def test_a_tag_whose_height_is_unknown_stays(name, params, block):
    found = pin(describe(name), dump(params), UNKNOWN)
    assert (found.params, found.block) == (dump(params), block)


def test_a_number_needs_no_height():
    for name, params in (
        ("eth_call", b'[{},"0x05"]'),
        ("eth_getBlockByNumber", b'["earliest",false]'),
        ("eth_getLogs", b'[{"fromBlock":"0x1","toBlock":"0x5"}]'),
    ):
        assert pin(describe(name), params, UNKNOWN) == pin(describe(name), params, HEIGHTS)
        assert pin(describe(name), params, UNKNOWN).block >= 0


@pytest.mark.parametrize("separators", SEPARATORS)
@pytest.mark.parametrize(
    ("name", "asked", "ends", "block"),
    [
        ("eth_getLogs", {"fromBlock": "0x1", "toBlock": "0x9"}, ("0x1", "0x9"), 9),
        ("eth_getLogs", {"toBlock": "0x09", "fromBlock": "0X1"}, ("0x1", "0x9"), 9),
        ("eth_getLogs", {"fromBlock": "0x9", "toBlock": "0x1"}, ("0x9", "0x1"), 9),
        ("eth_getLogs", {"fromBlock": "0x9", "toBlock": "latest"}, ("0x9", "0x10"), 16),
        ("eth_getLogs", {"fromBlock": "0x10", "toBlock": "latest"}, ("0x10", "0x10"), 16),
        ("eth_getLogs", {"fromBlock": "0x9"}, ("0x9", "0x10"), 16),
        ("eth_getLogs", {"fromBlock": None, "toBlock": None}, ("0x10", "0x10"), 16),
        ("eth_getLogs", {"fromBlock": "0x9", "blockHash": None}, ("0x9", "0x10"), 16),
        ("eth_getLogs", {"fromBlock": "earliest", "toBlock": "safe"}, ("0x0", "0xc"), 12),
        ("eth_getLogs", {"fromBlock": "finalized", "toBlock": "0x20"}, ("0x8", "0x20"), 32),
        ("eth_getLogs", {}, ("0x10", "0x10"), 16),
        ("erigon_getLogs", {}, ("0x10", "0x10"), 16),
        ("trace_filter", {"fromBlock": "0x1"}, ("0x1", "0x10"), 16),
        ("erigon_getLatestLogs", {"fromBlock": "0x1"}, ("0x1", "0x10"), 16),
    ],
)
def test_the_ends_of_a_range(name, asked, ends, block, separators):
    rest = {"address": [ADDRESS], "topics": [None, [BLOCK_HASH]], 'a "name"': 1.50}
    text = dump([{**asked, **rest}, {"logCount": 5}], separators)
    found = pin(describe(name), text, HEIGHTS)
    expected = {**{k: v for k, v in asked.items() if k == "blockHash"}, **rest}
    expected["fromBlock"], expected["toBlock"] = ends
    assert json.loads(found.params) == [expected, {"logCount": 5}]
    assert found.block == block
    assert found.is_ambiguous == ("earliest" in asked.values())
    assert pin(describe(name), found.params, HEIGHTS) == replace(found, is_ambiguous=False)


@pytest.mark.parametrize(
    ("params", "pinned", "block"),
    [
        (b"", b"", NONE),
        (b"null", b"null", NONE),
        (b' [ {} , "latest" ] \n', b'[{},"0x10"]', 16),
        (b'[{},"\\u006catest"]', b'[{},"0x10"]', 16),
        (b'[{"a":1e3, "b" : 1},"latest"]', b'[{"a":1e3, "b" : 1},"0x10"]', 16),
        (b'[{},"latest",{"\\u0061": 1.0 }]', b'[{},"0x10",{"\\u0061": 1.0 }]', 16),
        (b"[", b"[", NONE),
        (b'[{},"\xff"]', b'[{},"\xff"]', NONE),
        (b"[{}," + b"[" * 5_000, b"[{}," + b"[" * 5_000, NONE),
    ],
)
def test_params_in_odd_spellings(params, pinned, block):
    found = pin(describe("eth_call"), params, HEIGHTS)
    assert (found.params, found.block) == (pinned, block)


def test_params_left_out_where_the_block_comes_first():
    for params in (b"", b"null", b"[]", b" [ ] "):
        found = pin(describe("eth_getBlockReceipts"), params, HEIGHTS)
        assert (found.params, found.block) == (b'["0x10"]', 16)
    for params in (b"", b"null", b"[]"):
        found = pin(describe("eth_getLogs"), params, HEIGHTS)
        assert (found.params, found.block) == (params, LATEST)


_SPELLINGS = ["latest", "0x10", "0X10", "0x0010", {"blockNumber": "latest"}, None]


@pytest.mark.parametrize("separators", SEPARATORS)
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("eth_call", [DEEP_CALL], []),
        ("eth_call", [CALL], [OVERRIDES]),
        ("eth_getStorageAt", [ADDRESS, SLOT], []),
        ("eth_getProof", [ADDRESS, [SLOT]], []),
        ("eth_getBlockByNumber", [], [False]),
        ("eth_getBlockReceipts", [], []),
        ("eth_feeHistory", ["0x5"], [[10]]),
    ],
)
def test_spellings_of_one_block_share_a_key(name, before, after, separators):
    keys = {
        pin(describe(name), dump([*before, spelled, *after], separators), HEIGHTS).params
        for spelled in _SPELLINGS
    }
    if not after:
        keys.add(pin(describe(name), dump(before, separators), HEIGHTS).params)
    assert len(keys) == 1


def test_ranges_that_are_the_same_share_a_key():
    filters = [
        {"address": ADDRESS},
        {"fromBlock": "latest", "address": ADDRESS, "toBlock": "latest"},
        {"address": ADDRESS, "toBlock": "0x10", "fromBlock": "0x010"},
    ]
    keys = {pin(describe("eth_getLogs"), dump([one]), HEIGHTS).params for one in filters}
    assert len(keys) == 1


_words = st.sampled_from(
    ["latest", "safe", "finalized", "earliest", "pending", "0x1", "0x0A", "0x10", BLOCK_HASH, ","]
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | _words,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["fromBlock", "toBlock", "blockHash", "blockNumber"]) | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_heights = st.sampled_from([HEIGHTS, UNKNOWN, EvmHeights.of(2**63 - 1)])


def _without_block(name, position, params):
    """What may not change: everything but the block parameter."""
    if name in RANGED:
        ends = ("fromBlock", "toBlock")
        return [{k: v for k, v in params[0].items() if k not in ends}, *params[1:]]
    return params[:position], params[position + 1 :]


@given(
    st.sampled_from(sorted(METHODS)),
    st.lists(_values, max_size=4) | _values,
    st.sampled_from(SEPARATORS),
    _heights,
)
@example("eth_getLogs", [{'"': 0, "\\": 0, "\u2028": 0}], SEPARATORS[0], HEIGHTS)
@example("eth_getLogs", [{"\ud800": 0}], SEPARATORS[0], HEIGHTS)
def test_any_json_is_pinned_in_its_block_alone(name, params, separators, heights):
    method = describe(name)
    text = dump(params, separators)
    found = pin(method, text, heights)
    assert pin(method, found.params, heights) == replace(found, is_ambiguous=False)
    pinned = json.loads(found.params)
    if found.block < 0:
        assert EARLIEST != found.block >= NONE
        assert found.params == text
        return
    position = method.block_param
    assert _without_block(name, position, pinned) == _without_block(name, position, params or [])
    if name in RANGED:
        ends = [int(str(pinned[0][end]), 16) for end in ("fromBlock", "toBlock")]
        assert found.block == max(ends)
    elif isinstance(pinned[position], int):
        assert pinned[position] == found.block
    else:
        assert pinned[position] == hex(found.block)


@given(
    st.sampled_from(["eth_call", "eth_getLogs", "eth_getBlockByNumber", "eth_getStorageAt"]),
    st.binary(),
)
def test_any_bytes_are_taken(name, params):
    assert pin(describe(name), params, HEIGHTS).block >= NONE


@given(st.binary(min_size=1, max_size=40), _values)
def test_what_precedes_the_block_is_kept_byte_for_byte(blanks, first):
    spaces = bytes(b" \t\n\r"[byte % 4] for byte in blanks)
    inner = json.dumps(first, indent=1).encode()
    text = b"[" + inner + spaces + b"," + spaces + b'"latest"]'
    found = pin(describe("eth_call"), text, HEIGHTS)
    assert found.params.startswith(b"[" + inner)
    assert found.params.endswith(b',"0x10"]')


@pytest.mark.parametrize(
    ("name", "params", "is_ambiguous"),
    [
        ("eth_call", [CALL, "earliest"], True),
        ("eth_getBlockByNumber", ["earliest", False], True),
        ("eth_getLogs", [{"fromBlock": "earliest", "toBlock": "0x9"}], True),
        ("eth_getLogs", [{"fromBlock": "earliest", "toBlock": "latest"}], True),
        ("eth_call", [CALL, "latest"], False),
        ("eth_call", [CALL, "0x0"], False),
        ("eth_getTransactionByHash", ["earliest"], False),  # no block is asked for
    ],
)
def test_what_nodes_may_take_for_another_block_than_its_number(name, params, is_ambiguous):
    found = EVM_PINS.pin(describe(name), dump(params), HEIGHTS)
    assert found.is_ambiguous is is_ambiguous
