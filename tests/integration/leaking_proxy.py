"""The proxy as people run it, but for faults of its own that a wallet sets off by asking for
``leak_…``: exceptions whose words hold every key there is, in each place where one can arise. The
log is written a second time, as JSON.

``LEAK_WORDS`` is what the exceptions say, ``LEAK_JSON`` the file. SIGUSR1 prints the stacks of all
threads. At its end it fails, after everything was closed.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import threading
import warnings
from typing import Any, Final

from rpcproxy import cli
from rpcproxy.commands.runs import serve_run
from rpcproxy.config.secrets import Redactor
from rpcproxy.edges import logs
from rpcproxy.engine import tasks
from rpcproxy.engine.reads.encoder import Encoder
from rpcproxy.rules.answers.classify import Classifier

WORDS: Final = os.environ["LEAK_WORDS"]


class Unlucky:
    """Fails when it is thrown away."""

    def __del__(self) -> None:
        raise RuntimeError(f"finalizer: {WORDS}")


def fail(where: str) -> None:
    raise RuntimeError(f"{where}: {WORDS}")


async def fail_later(where: str) -> None:
    fail(where)


def fail_everywhere() -> None:
    """In a thread, in a finalizer, in a task, in one that nobody waits for, in a callback."""
    loop = asyncio.get_running_loop()
    threading.Thread(target=fail, args=("thread",), name="unlucky").start()
    Unlucky()
    warnings.warn(f"warning: {WORDS}", RuntimeWarning, stacklevel=1)
    tasks.start(fail_later("task"), f"unlucky {WORDS}")
    loop.create_future().set_exception(RuntimeError(f"never retrieved: {WORDS}"))
    loop.call_soon(fail, f"callback {WORDS}")


def arm() -> None:
    judge, encode = Classifier.judge, Encoder.encode

    def judged(self: Classifier, outcome: Any, id: int, method: Any, *rest: Any) -> Any:
        if method.name == "leak_in_protocol":
            fail("protocol")
        return judge(self, outcome, id, method, *rest)

    def encoded(self: Encoder, request: Any, settled: Any) -> Any:
        if request.method == "leak_in_handler":
            fail("handler")
        if request.method == "leak_everywhere":
            fail_everywhere()
        return encode(self, request, settled)

    def configured(style: Any, level: int = 20, *, redactor: Redactor) -> logs.LineHandler:
        """The usual log, and the same as JSON."""
        handler = logs.configure(style, level, redactor=redactor)
        descriptor = os.open(os.environ["LEAK_JSON"], os.O_WRONLY | os.O_CREAT, 0o600)

        def write(line: bytes) -> None:
            os.write(descriptor, line)

        second = logs.LineHandler(write)
        second.setFormatter(logs.LineFormatter("json", redactor))
        logging.getLogger().addHandler(second)
        return handler

    Classifier.judge = judged  # type: ignore[method-assign]
    Encoder.encode = encoded  # type: ignore[method-assign]
    serve_run.__dict__["configure"] = configured


if __name__ == "__main__":
    arm()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    code = cli.main()
    if code == 0:
        fail("end")
    sys.exit(code)
