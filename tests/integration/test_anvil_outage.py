"""When nobody can serve: a young outage is waited out, an old one is told in words, at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from tests.integration.anvil import AnvilChain, proxy_config
from tests.integration.running_proxy import RunningProxy
from tests.integration.wire import Answered, ask_together
from tests.waiting import wait_until

RECIPIENT = "0x00000000000000000000000000000000000ca5e1"
LIGHT_DEADLINE_SECONDS = 4.5
YOUNG_OUTAGE_SECONDS = 15.0
# What a busy machine may add to a time limit.
GRACE_SECONDS = 0.5

READS = (
    ("eth_getBalance", (RECIPIENT, "latest")),
    ("eth_gasPrice", ()),
    ("eth_getBlockByNumber", ("latest", False)),
    ("eth_getTransactionCount", (RECIPIENT, "latest")),
    ("eth_getCode", (RECIPIENT, "latest")),
    ("eth_blockNumber", ()),
)


def is_dark(proxy: RunningProxy) -> bool:
    return bool(proxy.status()["chains"][0]["usable"] == 0)


def outage_seconds(proxy: RunningProxy) -> float:
    """For how long nobody has been usable."""
    since = proxy.status()["chains"][0]["outage_since"]
    if since is None:
        return 0.0
    return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()


def assert_waited_out(answers: Sequence[Answered]) -> None:
    for answered in answers:
        assert answered.status == 200
        assert "result" in answered.reply, answered
        assert answered.seconds < LIGHT_DEADLINE_SECONDS
    assert max(answered.seconds for answered in answers) > 1.0  # they did wait


def test_requests_wait_out_three_seconds_without_anybody(
    anvil_chain: AnvilChain, proxy_process: Callable[[str], RunningProxy]
) -> None:
    """Those that come with the outage: nobody knows of it yet."""
    proxy = proxy_process(proxy_config(anvil_chain.nodes))
    proxy.wait_until_well()
    proxy.wire().result("eth_getBalance", RECIPIENT, "latest")
    anvil_chain.freeze(*anvil_chain.nodes)
    recovery = threading.Timer(3.0, anvil_chain.thaw, anvil_chain.nodes)
    recovery.start()
    try:
        answers = [future.result() for future in ask_together(proxy.url, *READS * 3)]
    finally:
        recovery.join()
    assert_waited_out(answers)
    proxy.wait_until_well()


def test_requests_wait_out_an_outage_that_is_known(
    anvil_chain: AnvilChain, proxy_process: Callable[[str], RunningProxy]
) -> None:
    """Those that come when nobody is left."""
    proxy = proxy_process(proxy_config(anvil_chain.nodes))
    proxy.wait_until_well()
    anvil_chain.freeze(*anvil_chain.nodes)
    recovery = threading.Timer(3.0, anvil_chain.thaw, anvil_chain.nodes)
    try:
        first = ask_together(proxy.url, *READS)
        wait_until(lambda: is_dark(proxy), "the proxy knows that nobody is left")
        recovery.start()
        answers = [future.result() for future in ask_together(proxy.url, *READS * 3)]
        for future in first:  # their time may have been up before
            future.result()
    finally:
        if recovery.ident is None:
            anvil_chain.thaw(*anvil_chain.nodes)
        else:
            recovery.join()
    assert_waited_out(answers)
    proxy.wait_until_well()


def test_gone_for_good_is_said_in_words(
    anvil_chain: AnvilChain, proxy_process: Callable[[str], RunningProxy]
) -> None:
    proxy = proxy_process(proxy_config(anvil_chain.nodes))
    proxy.wait_until_well()
    wire = proxy.wire()
    told = wire.result("eth_blockNumber")
    block = wire.result("eth_getBlockByNumber", told, False)
    anvil_chain.kill(*anvil_chain.nodes)

    for answered in [future.result() for future in ask_together(proxy.url, *READS[:2])]:
        assert answered.seconds < LIGHT_DEADLINE_SECONDS + GRACE_SECONDS
        assert_told_in_words(answered.status, answered.reply)

    # The head that was told is still given, and its block.
    assert wire.result("eth_blockNumber") == told
    assert wire.result("eth_getBlockByNumber", told, False) == block

    wait_until(lambda: outage_seconds(proxy) > YOUNG_OUTAGE_SECONDS, "the outage is old")
    quickest = {}
    for method, params in READS[:2]:
        turns = [ask_together(proxy.url, (method, params))[0].result() for _ in range(3)]
        for answered in turns:
            assert_told_in_words(answered.status, answered.reply)
        quickest[method] = min(answered.seconds for answered in turns)
    assert max(quickest.values()) < 1.0, quickest
    assert wire.result("eth_blockNumber") == told
    assert wire.result("eth_getBlockByNumber", "latest", False) == block

    anvil_chain.restart(*anvil_chain.nodes)
    proxy.wait_until_well()
    assert wire.result("eth_getBalance", RECIPIENT, "latest") == "0x0"


def assert_told_in_words(status: int, reply: dict[str, object]) -> None:
    assert status == 200
    error = reply["error"]
    assert isinstance(error, dict)
    assert error["code"] == -32603
    reason = error["data"]["reason"]
    assert error["message"] == reason
    assert reason.startswith("no upstream of anvil could answer")
    assert "127.0.0.1" not in reason  # upstreams are shown by name


def test_early_requests_wait_for_the_first_upstream(
    anvil_binary: str, proxy_process: Callable[[str], RunningProxy]
) -> None:
    with AnvilChain(anvil_binary) as chain:
        proxy = proxy_process(proxy_config(chain.nodes))
        answers = ask_together(proxy.url, *READS)
        wait_until(lambda: is_dark(proxy), "the proxy runs, and nobody else does")
        chain.start()
        for future in answers:
            answered = future.result()
            assert "result" in answered.reply, answered
            assert answered.seconds < LIGHT_DEADLINE_SECONDS
        proxy.wait_until_well()
