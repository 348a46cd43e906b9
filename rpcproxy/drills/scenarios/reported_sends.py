"""What people reported of sending transactions: see ``reported``.

Plain data.
"""

from __future__ import annotations

from typing import Final

from rpcproxy.drills.scenarios.cases import Case, CaseRequest, four_odd
from rpcproxy.drills.scenarios.fault import Fault
from rpcproxy.drills.scenarios.faults import WELL
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

_SEND: Final = ("eth_sendRawTransaction",)

REPORTED_SENDS: Final = (
    Case(
        name="account_refuses_a_send",
        told_by="zkSync 442",
        description="an account's own code refuses, in words of gateways",
        providers=four_odd(
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
        name="error_of_a_send_that_is_in",
        told_by="hardhat 2.29.1",
        description="a transaction that reverts is an error, and mined",
        providers=four_odd(
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
)  # fmt: skip
