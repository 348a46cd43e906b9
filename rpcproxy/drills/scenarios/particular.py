"""What a provider answers to particular requests, while it is well for all others.

A ``Particular`` says *when* (methods, texts in the params, how old the block is) and *what*: an
error in some provider's words under some HTTP status, a result of its own, a delay. Plain data,
JSON too; ``cases`` has the ones that people reported.

State: none.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from rpcproxy.drills.evm.simchain import quantity
from rpcproxy.drills.evm.simview import SimView
from rpcproxy.messages import Request

_NUMBER: Final = re.compile(rb'"(0x[0-9a-f]{1,16})"')
_FIRST: Final = re.compile(rb'\[\s*"([^"\\]*)"')


class Particular(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every condition that is set must hold.

    ``holding`` and ``lacking`` are looked for in the text of the params. ``older_than`` counts
    blocks from the head down to the highest number in the params; 0 asks for nothing.

    ``code`` 0 is no error. ``result`` is a JSON text, in which ``$first`` stands for the first
    parameter (a string), ``$head`` and ``$next`` for the number of the head and the one above,
    ``$headhash`` for the head's hash. A request is performed all the same where
    ``is_performed`` is set; ``delay_seconds`` come on top of the provider's latency. What is
    neither an error nor a result is answered as usual, and late.
    """

    methods: tuple[str, ...] = ()
    holding: str = ""
    lacking: str = ""
    older_than: int = 0
    status: int = 200
    code: int = 0
    message: str = ""
    data: str = ""  # JSON text
    result: str = ""
    is_performed: bool = False
    delay_seconds: float = 0.0

    def is_for(self, request: Request, view: SimView) -> bool:
        """Whether it is about this request, asked of a provider with this view."""
        if self.methods and request.method not in self.methods:
            return False
        params = bytes(request.params)
        if self.holding and self.holding.encode() not in params:
            return False
        if self.lacking and self.lacking.encode() in params:
            return False
        return not self.older_than or self._is_old(params, view)

    def _is_old(self, params: bytes, view: SimView) -> bool:
        numbers = [int(found, 16) for found in _NUMBER.findall(params)]
        return bool(numbers) and max(numbers) < view.head - self.older_than

    def error(self, request: Request) -> dict[str, Any]:
        """The error object; ``{id}`` in the message is the request's id: no two are alike then."""
        said: dict[str, Any] = {
            "code": self.code,
            "message": self.message.replace("{id}", request.id.decode()),
        }
        if self.data:
            said["data"] = msgspec.Raw(self.data.encode())
        return said

    def filled_in(self, request: Request, view: SimView) -> bytes:
        """The text of ``result``."""
        first = _FIRST.match(bytes(request.params))
        names = {
            "$first": first[1].decode() if first else "",
            "$headhash": view.block_hash(view.head),
            "$head": quantity(view.head),
            "$next": quantity(view.head + 1),
        }
        text = self.result
        for name, value in names.items():
            text = text.replace(name, value)
        return text.encode()


def particular_of(
    particulars: tuple[Particular, ...], request: Request, view: SimView
) -> Particular | None:
    """The first that is about this request."""
    return next((each for each in particulars if each.is_for(request, view)), None)
