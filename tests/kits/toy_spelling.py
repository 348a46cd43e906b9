"""The toy kind as nodes and wallets of the simulated chain speak it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rpcproxy.chains.parts.asked_at import LATEST
from tests.kits import spelling
from tests.kits.spelling import (
    BALANCE,
    BLOCK,
    HEADER,
    IDENTITY,
    NUMBER,
    RECEIPT,
    TX,
    Ask,
    Entry,
    Header,
    Told,
    Value,
)
from tests.kits.toy_kind import TOY

METHODS: Final = {
    IDENTITY: "network",
    NUMBER: "height",
    BLOCK: "block_at",
    HEADER: "block",
    BALANCE: "balance",
    RECEIPT: "proof",
    TX: "entry",
}
ASKED: Final = {method: what for what, method in METHODS.items()}
TIP: Final = "tip"


class ToySpelling(spelling.Spelling):
    """See the module's docstring."""

    kind = TOY
    hash_prefix = ""
    no_block = (7, "that block is not here yet", 500)
    wallets_ask: Sequence[str] = (
        *("number", "number", "latest", "by number", "by hash", "balance", "balance"),
        *("receipt", "receipt", "tx"),
    )

    def request(self, ask: Ask) -> tuple[str, list[Any]]:
        params: list[Any] = [ask.of]
        if ask.what == BLOCK:
            params = ["newest" if ask.at == LATEST else ask.at]
        return METHODS[ask.what], [] if ask.what == NUMBER else params

    def asked(self, method: str, params: Any) -> Ask:
        if method == TIP:
            return Ask(BLOCK, of=TIP)
        if method == METHODS[BLOCK]:
            return Ask(BLOCK, at=LATEST if params[0] == "newest" else params[0])
        return Ask(ASKED[method], *params)

    def answer(self, ask: Ask, told: Told) -> Any:
        if isinstance(told, Header):
            before = {"height": told.parent_number, "id": told.parent_hash}
            block = {"before": before, "when": told.timestamp, "entries": told.txs}
            return told.hash if ask.of == TIP else place(told) | block
        if isinstance(told, Value):
            return {"value": told.word, "place": place(told)}
        if isinstance(told, Entry):
            return {"entry": told.tx, "place": place(told)}
        return str(told) if ask.what == IDENTITY else told

    def read(self, ask: Ask, result: Any) -> Told:
        if ask.what in (BLOCK, HEADER) and result is not None:
            before = result["before"]
            return Header(
                result["height"], result["id"], before["id"], result["when"], before["height"]
            )
        if ask.what == BALANCE:
            return Value(result["value"], result["place"]["height"], result["place"]["id"])
        if isinstance(result, dict):
            return Entry(result["place"]["height"], result["place"]["id"], result["entry"])
        return result


def place(told: Header | Value | Entry) -> dict[str, Any]:
    return {"height": told.number, "id": told.hash}


TOY_SPELLING: Final = ToySpelling()
