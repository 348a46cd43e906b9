"""Answers on their way by a task that begins in the next turn of the loop.

What has to be known at once (a flight that others may join) is written down before; the task may
be cancelled before its first step, and then nothing of its coroutine runs.

State: one task each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from rpcproxy.engine import tasks
from rpcproxy.messages import INTERNAL_ERROR, Answer, Pending, encode_error

_log = logging.getLogger("rpcproxy.requests")

FAILURE = "the proxy failed on this request; its log says why"


class Carried(Pending):
    """The answer of ``work``. ``undo`` is called where that never began. An error of ``work`` is
    logged, and the client gets one under ``id`` (a JSON text).
    """

    __slots__ = ("_has_begun", "_id", "_task", "_trace_id", "_undo", "_work")

    def __init__(
        self,
        work: Coroutine[Any, Any, Answer],
        undo: Callable[[], None],
        trace_id: str,
        id: bytes = b"null",
    ) -> None:
        self._work = work
        self._undo = undo
        self._trace_id = trace_id
        self._id = id
        self._has_begun = False
        self._task = tasks.start(self._run(), "request")

    async def _run(self) -> None:
        self._has_begun = True
        try:
            answer = await self._work
        except Exception:  # noqa: BLE001 - logged; the client gets its answer whatever it was
            _log.exception("request failed", extra={"trace_id": self._trace_id})
            answer = Answer(encode_error(self._id, INTERNAL_ERROR, FAILURE))
        self.deliver(answer)

    def cancel(self) -> None:
        self._task.cancel()
        if not self._has_begun:
            self._work.close()
            self._undo()
