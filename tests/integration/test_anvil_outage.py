"""When nobody can serve: a young outage is waited out, an old one is told in words, at once.

How long an outage is young is handed in: an hour where it is waited out, and next to nothing where
it is old. One chain of nodes serves all tests; each begins with all of them well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.integration.anvil import AnvilChain
from tests.integration.anvil_node import proxy_config
from tests.integration.running_proxy import RunningProxy
from tests.integration.wire import Wire
from tests.kits.waiting import wait_until

RECIPIENT = "0x00000000000000000000000000000000000ca5e1"
HOUR_SECONDS = 3600.0

READS = (
    ("eth_getBalance", (RECIPIENT, "latest")),
    ("eth_gasPrice", ()),
    ("eth_getBlockByNumber", ("latest", False)),
    ("eth_getTransactionCount", (RECIPIENT, "latest")),
    ("eth_getCode", (RECIPIENT, "latest")),
    ("eth_blockNumber", ()),
)
# Of the reads, those that an upstream must be asked.
STATE = ("eth_getTransactionCount", "eth_getCode")
HEAVY = ("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"})


@pytest.fixture(scope="module")
def chain(anvil_binary: str) -> Iterator[AnvilChain]:
    with AnvilChain(anvil_binary) as chain:
        chain.start()
        yield chain


def started(chain: AnvilChain, directory: Path, young_seconds: float) -> RunningProxy:
    """A proxy for which an outage is young for so many seconds; light requests have an hour."""
    return RunningProxy(
        # Who hangs is found out sooner; late answers count all the same.
        proxy_config(chain.nodes, deadlines="{light: 1h, heavy: 1s}", attempt_timeout="0.5s"),
        directory,
        {"YOUNG_OUTAGE_SECONDS": str(young_seconds)},
        "tests.integration.patient_proxy",
    )


@pytest.fixture(scope="module")
def patient(chain: AnvilChain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    """For it every outage is young."""
    proxy = started(chain, tmp_path_factory.mktemp("patient"), HOUR_SECONDS)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture
def impatient(chain: AnvilChain, tmp_path: Path) -> Iterator[RunningProxy]:
    """For it an outage is old as soon as it is known."""
    proxy = started(chain, tmp_path, 0.0)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture(autouse=True)
def mended(chain: AnvilChain, patient: RunningProxy) -> Iterator[None]:
    """Before each test all nodes are well, and the proxy that knew the last outage has noticed."""
    patient.wait_until_well()
    yield
    chain.heal()


def is_dark(proxy: RunningProxy) -> bool:
    return bool(proxy.status()["chains"][0]["usable"] == 0)


def begun(proxy: RunningProxy, calls: Sequence[tuple[str, tuple[object, ...]]]) -> list[Wire]:
    """Asks all of this at once; the proxy has every question when this returns."""
    wires = [proxy.wire() for _ in calls]
    for wire, (method, params) in zip(wires, calls, strict=True):
        wire.begin(method, *params)
    # Answered by the proxy itself, and read after what was there before.
    assert proxy.wire().result("eth_chainId") == "0x7a69"
    return wires


def assert_waited_out(wires: Sequence[Wire]) -> None:
    for wire in wires:
        status, reply = wire.end()
        assert status == 200
        assert "result" in reply, reply


def are_waiting(wires: Sequence[Wire], calls: Sequence[tuple[str, tuple[object, ...]]]) -> bool:
    """Whether none of the questions of state is answered."""
    pairs = zip(wires, calls, strict=True)
    return not any(wire.has_answer for wire, (method, _) in pairs if method in STATE)


def test_requests_wait_out_an_outage_that_begins(chain: AnvilChain, patient: RunningProxy) -> None:
    """Those that come with the outage: nobody knows of it yet."""
    patient.wire().result("eth_getBalance", RECIPIENT, "latest")
    chain.freeze(*chain.nodes)
    wires = begun(patient, READS * 3)
    wait_until(lambda: is_dark(patient), "the proxy knows that nobody is left")
    assert are_waiting(wires, READS * 3)
    chain.thaw(*chain.nodes)
    assert_waited_out(wires)


def test_requests_wait_out_an_outage_that_is_known(
    chain: AnvilChain, patient: RunningProxy
) -> None:
    """Those that come when nobody is left."""
    chain.freeze(*chain.nodes)
    first = begun(patient, READS)
    wait_until(lambda: is_dark(patient), "the proxy knows that nobody is left")
    wires = begun(patient, READS * 3)
    assert are_waiting(wires, READS * 3)
    chain.thaw(*chain.nodes)
    assert_waited_out([*first, *wires])


def test_gone_for_good_is_said_in_words(
    chain: AnvilChain, patient: RunningProxy, impatient: RunningProxy
) -> None:
    impatient.wait_until_well()
    wires = [impatient.wire(), patient.wire()]
    told = chain.height
    block = wires[0].result("eth_getBlockByNumber", hex(told), False)
    assert wires[1].result("eth_getBlockByNumber", hex(told), False) == block
    chain.kill(*chain.nodes)

    # While the outage is young, a request ends with its deadline.
    assert_told_in_words(*wires[1].ask(*HEAVY))
    wait_until(lambda: is_dark(patient), "the proxy knows that nobody is left")
    early = begun(patient, READS[:2])

    # Where it is old nothing is waited out, whatever the deadline: that is an hour.
    for _ in range(2):
        for wire in begun(impatient, READS[:2] * 2):
            assert_told_in_words(*wire.end())
        wait_until(lambda: is_dark(impatient), "the proxy knows that nobody is left")

    # The head that was told is still given, and its block.
    asked = [
        ("eth_blockNumber", ()),
        ("eth_getBlockByNumber", (hex(told), False)),
        ("eth_getBlockByNumber", ("latest", False)),
    ]
    answers = [wire.end() for wire in begun(impatient, asked)]
    assert [reply["result"] for _, reply in answers] == [hex(told), block, block]

    chain.restart(*chain.nodes)
    assert_waited_out(early)
    impatient.wait_until_well()
    assert wires[0].result("eth_getBalance", RECIPIENT, "latest") == "0x0"


def assert_told_in_words(status: int, reply: dict[str, object]) -> None:
    assert status == 200
    error = reply["error"]
    assert isinstance(error, dict)
    assert error["code"] == -32603
    reason = error["data"]["reason"]
    assert error["message"] == reason
    assert reason.startswith("no upstream of anvil could answer")
    assert "127.0.0.1" not in reason  # upstreams are shown by name


def test_early_requests_wait_for_the_first_upstream(chain: AnvilChain, tmp_path: Path) -> None:
    chain.kill(*chain.nodes)
    proxy = started(chain, tmp_path, HOUR_SECONDS)
    try:
        wires = begun(proxy, READS)
        assert is_dark(proxy)
        chain.restart(*chain.nodes)
        assert_waited_out(wires)
        proxy.wait_until_well()
    finally:
        proxy.close()
