"""What a number alone means, after all words: at different providers it means opposite things."""

from __future__ import annotations

from typing import Final

from rpcproxy.chains.evm.errors.by_request import unreadable_verdict
from rpcproxy.chains.parts.errors import ANY, NOT_SENDS, SENDS, ErrorRow, code_row
from rpcproxy.messages import Verdict

V = Verdict

BY_CODE: Final[tuple[ErrorRow, ...]] = (
    code_row(
        V.ALREADY_KNOWN, SENDS, "EIP-7966: 4 timeout, 5 not ready; the transaction is out", 4, 5
    ),
    code_row(V.RANGE_TOO_LARGE, NOT_SENDS, "QuickNode −32614, eRPC −32012", -32614, -32012),
    code_row(V.QUOTA, ANY, "Infura", 402),
    # Besu numbers its rejections −32001 to −32010, Nethermind's are all −32010.
    code_row(
        V.SEND_POLICY, SENDS, "Besu, Nethermind; EIP-1474's −32003: rejected, no reason we know",
        -32001, -32002, -32003, -32006, -32008, -32010,
    ),
    code_row(
        V.RATE_LIMITED, ANY, "Infura, Alchemy, QuickNode, Chainstack, Tenderly, proxyd, dRPC",
        429, -32005, -32007, -32009, -32016, -32024, -32029, -32012, 15, 30,
    ),
    code_row(
        V.MISSING_DATA, NOT_SENDS, "EIP-1474 −32001, geth 4444 (pruned history), −39001, proxyd",
        -32001, 4444, -39001, -32019,
    ),
    code_row(
        V.UNSUPPORTED, ANY, "EIP-1474, QuickNode (not in plan), Besu (not enabled)",
        -32004, -32612, -32613, -32604,
    ),
    code_row(V.KEY_REFUSED, ANY, "gateways; Besu −40100", 401, 403, -40100),
    code_row(V.INVALID_PARAMS, ANY, "JSON-RPC", -32602),
    ErrorRow(
        V.INVALID_PARAMS, "JSON-RPC; anvil 1.7.1 for a body over 2 MiB", codes=frozenset((-32600,)),
        weigh=unreadable_verdict,
    ),
    code_row(
        V.SERVER_ERROR, ANY, "JSON-RPC −32603, geth's own limits −32002 and −32003, proxyd",
        -32603, -32002, -32003, -32010, -32011, -32013, -32015, -32018, -32020,
        500, 502, 503, 504,
    ),
)  # fmt: skip
