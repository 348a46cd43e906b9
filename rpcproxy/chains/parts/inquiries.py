"""What upstreams are asked, and how answers are read. Pure.

A *question* is one call, together with how its answer is read. An *inquiry* asks as many questions
as it takes, one after the other, and returns one value. Who asks, of whom and when is the engine's
business.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from rpcproxy.chains.method import Method
from rpcproxy.messages import MethodClass

T = TypeVar("T")
JsonText: TypeAlias = bytes | msgspec.Raw


class Question(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One call. ``params`` is JSON text; ``read`` takes the JSON text of a result and returns what
    it says, ``None`` where it is no answer to this question. ``read`` never raises.
    """

    method: Method
    params: bytes
    read: Callable[[JsonText], T | None]

    @property
    def method_class(self) -> MethodClass:
        return self.method.method_class


# Yields questions and is sent what ``read`` made of each answer, never ``None``: where a question
# has no answer the inquiry is not resumed. Returns the value, ``None`` where it cannot be made out.
Inquiry: TypeAlias = Generator[Question[Any], Any, T | None]


def single(question: Question[T]) -> Inquiry[T]:
    """An inquiry of one question."""
    answer: T = yield question
    return answer
