"""Words of ours that wallets read: why a method is refused, why nobody could serve."""

from __future__ import annotations

import re

from rpcproxy.chains.evm.own_words import REFUSED, refusal_of
from rpcproxy.chains.method import MethodKind
from rpcproxy.messages import Judgement, Retry, Verdict
from rpcproxy.rules.answers.outage import explain


def test_refusals_tell_the_wallets_developer_what_to_do_or_why() -> None:
    assert "use eth_getLogs" in REFUSED[MethodKind.STATEFUL]
    assert "node's own keys" in REFUSED[MethodKind.REFUSED]


# What libraries look for in messages, and what they take it for.
READ_BY_CLIENTS = (
    # ethers 6.17 and 5.8, getRpcError and checkError
    r"execution reverted|revert",
    r"insufficient funds|base fee exceeds gas limit",
    r"nonce.*too low|too low.*nonce",
    r"replacement transaction.*underpriced|underpriced",
    r"only replay-protected",
    r"user denied|ethers-user-denied|user rejected",
    r"gas required exceeds allowance|always failing transaction",
    # viem 2.57, errors/node.ts and utils/errors
    r"fee cap (?:higher|less) than|max fee per gas|transaction is outdated",
    r"nonce too high|nonce has max value",
    r"transaction already imported|already known|known transaction",
    r"exceeds transaction sender account balance",
    r"intrinsic gas too (?:high|low)|gas limit reached",
    r"transaction type not valid|tip higher than fee cap",
    r"request body|timed out",
    # MetaMask's transaction controller, ethers-rs, Nethereum, hardhat's and Truffle's adapters
    r"gas price too low to replace|invalid nonce|oldnonce",
    r"header not found|unknown block|missing trie node|block not found",
    r"filter not found|query returned more than|block range",
    r"rate limited|too many requests|429",
)


def test_a_method_that_is_refused_is_told_as_geth_tells_of_one_that_it_lacks() -> None:
    """ethers 4784, 4162; viem 76; polygon-etl 79, iexec-core 350 wait for these words."""
    for name in ("eth_newFilter", "eth_subscribe", "eth_sendTransaction", "personal_sign"):
        message = refusal_of(name, REFUSED[MethodKind.STATEFUL])
        assert message.startswith(f"the method {name} does not exist/is not available")
        assert re.search(r"the method .* does not exist", message, re.IGNORECASE)
        assert message.endswith(REFUSED[MethodKind.STATEFUL])


def test_no_words_of_ours_are_taken_for_a_nodes_verdict() -> None:
    told = [verdict for verdict in Verdict if verdict.retry is not Retry.NO]
    failures = [(f"u{i}", Judgement(verdict)) for i, verdict in enumerate(told)]
    ours = [
        refusal_of("eth_newFilter", REFUSED[MethodKind.STATEFUL]),
        refusal_of("eth_sign", REFUSED[MethodKind.REFUSED]),
        *(explain("ethereum", [failure], 3.0, 4) for failure in failures),
        explain("ethereum", failures, None, 4),
        explain("ethereum", [], 90.0, 2, ["a", "b"]),
    ]
    for text in ours:
        for words in READ_BY_CLIENTS:
            assert not re.search(words, text, re.IGNORECASE), f"{words!r} in {text!r}"
