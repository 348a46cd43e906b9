"""What people who run or use proxies, nodes and wallets reported, as cases to be played again.

Plain data. ``told_by`` of each names the source: issues of public projects, by number.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.drills.scenarios.cases import Case, CaseRequest
from rpcproxy.drills.scenarios.faults import WELL, Fault
from rpcproxy.drills.scenarios.particular import Particular

# Signed once for chain 1337 with the key 0x46…46 (EIP-155's example): a payment with nonce 5, its
# cancel (nonce 5, fees × 1.5), and one whose tip is above its fee.
PAYMENT: Final = (
    "0x02f87482053905843b9aca008504a817c80082520894353535353535353535353535353535353535353587038d7e"
    "a4c6800080c001a0301cdd41d39fba17df0f6b9534dafd7a12c45831c1aea3b1267f58c261a1f4d3a009f6cddc9f56"
    "aeb61388835bcba132f099278519cb435b6dee24a87d10e1d143"
)
PAYMENT_HASH: Final = "0xf5130d0fde32e319518254505d224b5a2d6b57705c69d31df2eee5f02291e796"
CANCEL: Final = (
    "0x02f86d820539058459682f008506fc23ac00825208949d8a62f656a8d1615c1294fd71e9cfb3e4855a4f8080c080"
    "a0e55fc6f2c591495201b5150b1f8c3588fefc34ce0ecfad841183f16c1359f22ca04b1611d5e05c4faf33894faa41"
    "4a9989fcdcb89af2bbe09cb8890db88fff81e9"
)
CANCEL_HASH: Final = "0x3c4759a0961878ed3edc3de176d8e88f4c292508976078fc67f77c5d71dfe15a"
TIP_ABOVE_FEE: Final = (
    "0x02f873820539058477359400843b9aca0082520894353535353535353535353535353535353535353587038d7ea4"
    "c6800080c080a0f2ba08dc7ef56acdd7a58a7fce3177073b1bf2f426634276b2d5b8ab6f1206d2a0184144a5915fc7"
    "1c305259ff6554bbd5756e247ad8d4d37a9134ba1b29fcb188"
)
# A type that is nobody's but one rollup's: to whom it is sent, its bytes say nothing.
FOREIGN: Final = "0x71" + "c0ffee" * 40


def _odd(*particulars: Particular, name: str = "particular") -> Fault:
    return Fault(
        name=name,
        description="is well but for certain requests",
        cost="those requests failed, or were answered wrongly",
        particulars=particulars,
    )


def _all(*particulars: Particular) -> tuple[Fault, Fault, Fault, Fault]:
    fault = _odd(*particulars)
    return (fault, fault, fault, fault)


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
    quick = _odd(Particular(methods=_RECEIPT, result=result))
    late = _odd(Particular(delay_seconds=_LATE))
    return (quick, late, late, late)


REPORTED: Final[dict[str, Case]] = {
    case.name: case
    for case in (
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
            name="account_refuses_a_send",
            told_by="zkSync 442",
            description="an account's own code refuses, in words of gateways",
            providers=_all(
                Particular(
                    methods=_SEND,
                    code=3,
                    message="account validation: unauthorized, forbidden: rate limit",
                )
            ),
            asks=(
                CaseRequest(
                    method=_SEND[0], params=f'["{PAYMENT}"]', right="error", code=3,
                    words="unauthorized",
                ),
            ),
        ),
        Case(
            name="archive_behind_403",
            told_by="antseed 842",
            description="three of four refuse old blocks with HTTP 403",
            providers=(_odd(_FIREWALL), _odd(_FIREWALL), _odd(_FIREWALL), WELL),
            asks=(
                CaseRequest(method="eth_getBalance", params=_OLD_BALANCE, times=3),
                CaseRequest(method="eth_getBalance", params='["$account","$head"]', times=3),
            ),
        ),
        Case(
            name="archive_refused_by_all",
            told_by="antseed 842",
            description="all refuse old blocks with HTTP 403",
            providers=_all(_FIREWALL),
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
            providers=_all(
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
            providers=_all(
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
            providers=_all(
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
                _odd(_NO_OVERRIDES), _odd(_NO_OVERRIDES),
                _odd(Particular(delay_seconds=_LATE)), _odd(Particular(delay_seconds=_LATE)),
            ),
            asks=(CaseRequest(method="eth_call", params=_OVERRIDE, times=8),),
        ),
        Case(
            name="foreign_type",
            told_by="chainlink 12600, zkSync",
            description="four doors of one sequencer: one takes it, the others know it already",
            asks=(
                CaseRequest(
                    method=_SEND[0], params=f'["{FOREIGN}"]', times=4, right="result",
                ),
            ),
        ),
        Case(
            name="block_without_receipts",
            told_by="reth 23394, geth 28789",
            description="the quickest has no receipts and no logs of the newest block yet",
            providers=(
                _odd(Particular(methods=("eth_getBlockReceipts", "eth_getLogs"), result="[]")),
                *((_odd(Particular(delay_seconds=_LATE)),) * 3),
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
            providers=_all(Particular(methods=("eth_call",), delay_seconds=2.0)),
            asks=(
                CaseRequest(method="eth_call", params='[{"to":"$account","data":"0x"},"$head"]'),
                CaseRequest(method="eth_call", params='[{"to":"$account","data":"0x01"},"$head"]'),
            ),
        ),
        Case(
            name="trace_of_a_block_to_come",
            told_by="alloy and go-ethereum's clients, tried",
            description="null is not what nodes say",
            providers=_all(
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
            providers=_all(
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
                *((_odd(Particular(delay_seconds=_LATE)),) * 3),
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
            providers=_all(
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
            name="error_of_a_send_that_is_in",
            told_by="hardhat 2.29.1",
            description="a transaction that reverts is an error, and mined",
            providers=_all(
                Particular(
                    methods=_SEND, is_performed=True, code=-32603,
                    message="Error: VM Exception while processing transaction: reverted",
                    data=f'{{"txHash":"{PAYMENT_HASH}"}}',
                )
            ),
            asks=(
                CaseRequest(
                    method=_SEND[0], params=f'["{PAYMENT}"]', right="result", result=PAYMENT_HASH
                ),
            ),
        ),
        Case(
            name="tip_above_fee",
            told_by="viem and ethers, which read geth's words",
            description="what no node takes is refused in the words of nodes",
            asks=(
                CaseRequest(
                    method=_SEND[0], params=f'["{TIP_ABOVE_FEE}"]', right="error",
                    words="max priority fee per gas higher than max fee per gas",
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
        Case(
            name="private_and_public",
            told_by="MetaMask 30419",
            description="sends go to a private upstream alone, reads to the others",
            upstreams=({"private": True, "role": "sends"}, {}, {}, {}),
            asks=(
                CaseRequest(
                    method=_SEND[0], params=f'["{PAYMENT}"]', right="result", result=PAYMENT_HASH
                ),
                CaseRequest(
                    method="eth_getTransactionReceipt", params=f'["{PAYMENT_HASH}"]', right="null",
                    times=3,
                ),
            ),
            providers=(Fault(name="keeps to itself", forgets_sends=True), WELL, WELL, WELL),
        ),
        Case(
            name="a_payment_and_its_cancel",
            told_by="MetaMask 7305, MyCrypto 2517",
            description="pools forget, and the payment that was cancelled is not sent again",
            providers=(Fault(name="forgets", forgets_sends=True),) * 4,
            asks=(
                CaseRequest(
                    method=_SEND[0], params=f'["{PAYMENT}"]', right="result", result=PAYMENT_HASH
                ),
                CaseRequest(
                    method=_SEND[0], params=f'["{CANCEL}"]', right="result", result=CANCEL_HASH
                ),
            ),
        ),
    )
}  # fmt: skip
