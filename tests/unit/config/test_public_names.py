"""What strangers may call an upstream."""

import pytest

from rpcproxy.config.model import Upstream
from rpcproxy.config.public_names import Veil, is_address, public_names


def upstream(name: str, provider: str = "") -> Upstream:
    return Upstream(name=name, url="http://127.0.0.1:1", provider=provider or name)


@pytest.mark.parametrize(
    "name",
    [
        *("127.0.0.1:8545", "10.0.0.5", "[::1]:8545", "::1", "geth:8545"),
        *("node.internal:8545-2", "10.0.0.5:8545-3", "localhost:8545"),
    ],
)
def test_a_name_that_is_an_address(name: str) -> None:
    assert is_address(name)


@pytest.mark.parametrize("name", ["infura", "infura-2", "my-node", "a:b", "node.internal", "1rpc"])
def test_a_name_that_is_none(name: str) -> None:
    assert not is_address(name)


def test_addresses_are_counted_by_their_place_and_no_two_are_alike() -> None:
    listed = [upstream(name) for name in ("infura", "127.0.0.1:8545", "upstream-3", "geth:8545")]
    assert public_names(listed) == {
        "infura": "infura",
        "127.0.0.1:8545": "upstream-2",
        "upstream-3": "upstream-3",
        "geth:8545": "upstream-4",
    }
    taken = [upstream("upstream-2"), upstream("10.0.0.1:1")]
    assert len({each.casefold() for each in public_names(taken).values()}) == 2


def test_a_veil_over_texts_and_pages() -> None:
    veil = Veil(
        [
            upstream("127.0.0.1:8545"),
            upstream("127.0.0.1:8545-2", "127.0.0.1:8545"),
            upstream("mine", "10.0.0.7:8545"),
        ]
    )
    assert veil("127.0.0.1:8545 is failing, and 127.0.0.1:8545-2") == (
        "upstream-1 is failing, and upstream-2"
    )
    assert veil("10.0.0.7:8545 is in trouble with two providers") == (
        "mine is in trouble with two providers"
    )
    page = {"127.0.0.1:8545": {"name": "127.0.0.1:8545", "head": 7, "what": ["10.9.9.9:1234"]}}
    assert veil.over(page) == {
        "upstream-1": {"name": "upstream-1", "head": 7, "what": ["(hidden)"]}
    }
    assert Veil([])("all well") == "all well"
