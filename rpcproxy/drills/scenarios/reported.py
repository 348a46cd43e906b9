"""What people who run or use proxies, nodes and wallets reported, as cases to be played again.

Plain data. ``told_by`` of each names the source: issues of public projects, by number.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.drills.scenarios.cases import Case, CaseRequest, four_odd, odd
from rpcproxy.drills.scenarios.fault import Fault
from rpcproxy.drills.scenarios.faults import WELL
from rpcproxy.drills.scenarios.particular import Particular
from rpcproxy.drills.scenarios.reported_sends import PAYMENT_HASH, REPORTED_SENDS

_LATE: Final = 0.05  # seconds: after the quickest, and long before a second copy
_RECEIPT: Final = ("eth_getTransactionReceipt",)
_ESTIMATE: Final = '[{"from":"$account","to":"$account","value":"$turn"}]'
_OVERRIDE: Final = (
    '[{"to":"$account","data":"0x"},"latest",{"0x00000000000000000000000000000000000000aa":'
    '{"balance":"0x1"}}]'
)
_OLD_BALANCE: Final = '["$account","$old"]'
_SEND: Final = ("eth_sendRawTransaction",)

_FIREWALL: Final = Particular(
    methods=("eth_getBalance",),
    older_than=100,
    status=403,
    code=-32000,
    message="archive requests are not for free endpoints",
)
_NO_OVERRIDES: Final = Particular(
    methods=("eth_call",), holding="0x00000000000000000000000000000000000000aa",
    code=-32602, message="too many arguments, want at most 2",
)  # fmt: skip
_WAITING_RECEIPT: Final = (
    '{"transactionHash":"$first","blockHash":null,"blockNumber":null,"status":null,"logs":[]}'
)
_ZERO_RECEIPT: Final = (
    '{"transactionHash":"$first","blockHash":"0x' + "0" * 64 + '","blockNumber":"$next",'
    '"status":"0x1","logs":[]}'
)


def _receipts(result: str) -> tuple[Fault, Fault, Fault, Fault]:
    quick = odd(Particular(methods=_RECEIPT, result=result))
    late = odd(Particular(delay_seconds=_LATE))
    return (quick, late, late, late)


REPORTED: Final[dict[str, Case]] = {
    case.name: case
    for case in (
        *REPORTED_SENDS,
        Case(
            name="receipt_without_a_block",
            told_by="viem 4012, rust-web3 749",
            description="the quickest gives a waiting receipt for a mined transaction",
            providers=_receipts(_WAITING_RECEIPT),
            asks=(CaseRequest(method=_RECEIPT[0], params='["$tx"]', times=5),),
        ),
        Case(
            name="receipt_of_what_waits",
            told_by="viem 4012, 3873; rust-web3 749",
            description="the quickest gives odd receipts for a transaction that is in no block",
            providers=_receipts(_ZERO_RECEIPT),
            asks=(CaseRequest(method=_RECEIPT[0], params=f'["{PAYMENT_HASH}"]', times=5),),
        ),
        Case(
            name="receipt_that_is_empty",
            told_by="viem 3873",
            description="the quickest gives {} for a mined transaction",
            providers=_receipts("{}"),
            asks=(CaseRequest(method=_RECEIPT[0], params='["$tx"]', times=5),),
            is_calm=False,
        ),
        Case(
            name="receipt_of_the_next_block",
            told_by="viem 4012; pre-confirmed receipts of Base",
            description="the quickest puts a transaction into a block of zeros above the head",
            providers=_receipts(_ZERO_RECEIPT),
            asks=(CaseRequest(method=_RECEIPT[0], params='["$tx"]', times=5),),
        ),
        Case(
            name="archive_behind_403",
            told_by="antseed 842",
            description="three of four refuse old blocks with HTTP 403",
            providers=(odd(_FIREWALL), odd(_FIREWALL), odd(_FIREWALL), WELL),
            asks=(
                CaseRequest(method="eth_getBalance", params=_OLD_BALANCE, times=3),
                CaseRequest(method="eth_getBalance", params='["$account","$head"]', times=3),
            ),
        ),
        Case(
            name="archive_refused_by_all",
            told_by="antseed 842",
            description="all refuse old blocks with HTTP 403",
            providers=four_odd(_FIREWALL),
            asks=(
                CaseRequest(
                    method="eth_getBalance", params=_OLD_BALANCE, right="error",
                    words="archive requests", times=3,
                ),
                CaseRequest(method="eth_getBalance", params='["$account","$head"]', times=3),
            ),
        ),
        Case(
            name="unknown_words",
            told_by="rpc-plane 18, nimbus-eth1 4687",
            description="all refuse a request in the same words, which no table knows",
            providers=four_odd(
                Particular(
                    methods=("eth_estimateGas",), code=-32099,
                    message="the frobnicator is out of cheese (request {id})",
                )
            ),
            asks=(
                CaseRequest(
                    method="eth_estimateGas", params=_ESTIMATE, times=10, right="error",
                    words="out of cheese",
                ),
                CaseRequest(method="eth_getBalance", params='["$account","$head"]'),
            ),
        ),
        Case(
            name="method_switched_off",
            told_by="bsc 1215",
            description="all have a method switched off, under the code of a limit",
            providers=four_odd(
                Particular(
                    methods=("eth_getLogs",), code=-32005, message="method eth_getLogs is disabled"
                )
            ),
            asks=(
                CaseRequest(
                    method="eth_getLogs", params='[{"fromBlock":"$head","toBlock":"$head"}]',
                    times=14, right="error", words="disabled",
                ),
                CaseRequest(method="eth_getBalance", params='["$account","$head"]'),
            ),
        ),
        Case(
            name="gas_cap_as_a_limit",
            told_by="hiero-relay 2091",
            description="all refuse a call's gas under the code of a limit",
            providers=four_odd(
                Particular(
                    methods=("eth_call",), holding='"gas"', code=-32005,
                    message="gas limit of the call exceeds the cap of 15000000",
                )
            ),
            asks=(
                CaseRequest(
                    method="eth_call", times=5, right="error", words="exceeds the cap",
                    params='[{"to":"$account","data":"0x","gas":"0x2faf080"},"latest"]',
                ),
                CaseRequest(method="eth_call", params='[{"to":"$account","data":"0x"},"latest"]'),
            ),
        ),
        Case(
            name="overrides_refused_by_two",
            told_by="hyperlane 9365, hardhat 2513",
            description="two quick ones refuse a state override, two slower ones take it",
            providers=(
                odd(_NO_OVERRIDES), odd(_NO_OVERRIDES),
                odd(Particular(delay_seconds=_LATE)), odd(Particular(delay_seconds=_LATE)),
            ),
            asks=(CaseRequest(method="eth_call", params=_OVERRIDE, times=8),),
        ),
        Case(
            name="block_without_receipts",
            told_by="reth 23394, geth 28789",
            description="the quickest has no receipts and no logs of the newest block yet",
            providers=(
                odd(Particular(methods=("eth_getBlockReceipts", "eth_getLogs"), result="[]")),
                *((odd(Particular(delay_seconds=_LATE)),) * 3),
            ),
            asks=(
                CaseRequest(method="eth_getBlockByNumber", params='["$head",true]'),
                CaseRequest(method="eth_getBlockReceipts", params='["$head"]', times=4),
                CaseRequest(method="eth_getLogs", params='[{"blockHash":"$hash"}]', times=4),
            ),
        ),
        Case(
            name="heights_without_a_block",
            told_by="forest 7276",
            description="every fifth height has no block",
            skip_every=5,
            asks=(
                *(
                    CaseRequest(
                        method="eth_getBlockByNumber", params=f'["{number:#x}",false]',
                        right="error", words="null round", code=12,
                    )
                    for number in range(19_999_500, 19_999_540, 5)
                ),
                CaseRequest(method="eth_getBalance", params='["$account","$head"]', times=3),
            ),
        ),
        *(
            Case(
                name=f"pending_block_{node}",
                told_by=f"{node}, tried",
                description=f"the block to come, as {node} shows it",
                providers=(
                    Fault(name="pending", pending_block=node),
                ) * 4,
                asks=(
                    CaseRequest(
                        method="eth_getBlockByNumber",
                        params='["pending",false]',
                        right="result",
                    ),
                ),
            )
            for node in ("geth", "anvil", "hardhat")
        ),
        Case(
            name="latest_ahead_of_the_rest",
            told_by="monad and hyperevm, tried",
            description="blocks every 0.4 s, and whoever is asked for the latest may have it first",
            chain={"consistency": "routed"},
            block_time_seconds=0.4,
            providers=(WELL, Fault(name="late", news_seconds=0.2), WELL,
                       Fault(name="late", news_seconds=0.3)),
            asks=(
                CaseRequest(
                    method="eth_getBlockByNumber", params='["latest",false]', times=60,
                    right="result",
                ),
            ),
        ),
        Case(
            name="pages_of_traces",
            told_by="OpenEthereum's trace_filter, tried",
            description="a page of traces over a range that is too wide for all",
            asks=(
                CaseRequest(
                    method="trace_filter",
                    params='[{"fromBlock":"$old","toBlock":"$wide","after":60,"count":3}]',
                    # Two traces in each block: 60 of them are 30 blocks.
                    as_if='[{"fromBlock":"$page","toBlock":"$more","count":3}]',
                ),
            ),
        ),
        Case(
            name="slow_and_sound",
            told_by="archive nodes, tried",
            description="every eth_call takes 2 s at everybody's",
            providers=four_odd(Particular(methods=("eth_call",), delay_seconds=2.0)),
            asks=(
                CaseRequest(method="eth_call", params='[{"to":"$account","data":"0x"},"$head"]'),
                CaseRequest(method="eth_call", params='[{"to":"$account","data":"0x01"},"$head"]'),
            ),
        ),
        Case(
            name="trace_of_a_block_to_come",
            told_by="alloy and go-ethereum's clients, tried",
            description="null is not what nodes say",
            providers=four_odd(
                Particular(
                    methods=("debug_traceBlockByNumber",), code=-32000, message="block not found"
                )
            ),
            asks=(
                CaseRequest(
                    method="debug_traceBlockByNumber", params='["0xfffffff"]', right="error",
                    words="not found",
                ),
            ),
        ),
        Case(
            name="client_mistakes",
            told_by="geth 1.17.10's words",
            description="all refuse what is the client's mistake",
            providers=four_odd(
                Particular(
                    methods=("eth_estimateGas",), code=-32000,
                    message="both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
                )
            ),
            asks=(
                CaseRequest(
                    method="eth_estimateGas", params=_ESTIMATE, times=10, right="error",
                    words="both gasPrice and", code=-32000,
                ),
            ),
        ),
        Case(
            name="index_too_high",
            told_by="ethereum-etl, tried",
            description="a transaction that the block does not hold",
            asks=(
                CaseRequest(method="eth_getBlockByHash", params='["$hash",false]'),
                CaseRequest(
                    method="eth_getTransactionByBlockHashAndIndex", params='["$hash","0x63"]',
                    right="null",
                ),
            ),
        ),
        Case(
            name="lag_in_a_clients_words",
            told_by="geth 1.16.9 and older",
            description="who is a block behind calls a good range invalid",
            providers=(
                Fault(
                    name="behind", lag_blocks=1,
                    particulars=(
                        Particular(
                            methods=("eth_getLogs",), code=-32000,
                            message="invalid block range params",
                        ),
                    ),
                ),
                *((odd(Particular(delay_seconds=_LATE)),) * 3),
            ),
            asks=(
                CaseRequest(
                    method="eth_getLogs", params='[{"fromBlock":"$head","toBlock":"$head"}]',
                    times=4,
                ),
            ),
        ),
        Case(
            name="logs_of_pending",
            told_by="geth 1.17.10",
            description="a tag is not supported, the method is",
            providers=four_odd(
                Particular(
                    methods=("eth_getLogs",), holding="pending", code=-32602,
                    message="pending logs are not supported",
                )
            ),
            asks=(
                CaseRequest(
                    method="eth_getLogs", params='[{"fromBlock":"pending"}]', right="error",
                    words="pending logs",
                ),
                CaseRequest(
                    method="eth_getLogs", params='[{"fromBlock":"$head","toBlock":"$head"}]',
                    times=4,
                ),
            ),
        ),
        Case(
            name="filters_in_a_nodes_words",
            told_by="hiero-relay 3030, ethers 4784",
            description="a library turns to polling when it reads a node's words",
            asks=(
                CaseRequest(
                    method="eth_newFilter", params="[{}]", right="error", code=-32601,
                    words="the method eth_newFilter does not exist/is not available",
                ),
            ),
        ),
        Case(
            name="one_call_is_malformed",
            told_by="tried",
            description="a client's mistake teaches nothing about anybody",
            asks=(
                CaseRequest(
                    method="eth_call", params='[{"to":"0x12"},"latest"]', times=3, right="result",
                ),
                CaseRequest(method="eth_getBalance", params='["0x12","latest"]', right="error",
                    words="hex string"),
                CaseRequest(method="eth_getBalance", params='["$account","$head"]', times=3),
            ),
        ),
        Case(
            name="a_flood_of_heads",
            told_by="tried",
            description="one announces 5,000 rising heads a second over WebSocket",
            providers=(WELL, WELL, WELL, Fault(name="flood", heads_per_second=5000.0)),
            asks=(CaseRequest(method="eth_getBalance", params='["$account","$head"]', times=50),),
            is_calm=False,
        ),
    )
}  # fmt: skip
