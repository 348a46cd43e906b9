"""What is to be sent, and how a send ended: values that go between those who send."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from rpcproxy.chains.method import Method
from rpcproxy.engine.attempts.tries import Notes, Tried
from rpcproxy.messages import Verdict
from rpcproxy.reasons import Reason


class SendOutcome(msgspec.Struct, gc=False):
    """How a send ended: a result's text, or an error's, or ``reason`` in the proxy's own words.
    ``verdict`` is the one behind an error; ``tried``: the copies that were made.
    """

    result: bytes = b""
    error: bytes = b""
    reason: Reason | None = None
    verdict: Verdict | None = None
    tried: Sequence[Tried] = ()


def _never() -> bool:
    return False


class SendOrder(msgspec.Struct, gc=False):
    """What is to be sent. ``hash`` is empty where it is not ours to compute, and ``wants_hash``
    says that some upstream must tell it; ``copies`` is how many upstreams are asked at once.
    """

    method: Method
    params: bytes
    hash: str = ""
    copies: int = 1
    is_private: bool = False
    wants_hash: bool = False
    is_overtaken: Callable[[], bool] = _never  # it is not wanted any more: no further copies
    notes: Notes = msgspec.field(default_factory=Notes)
