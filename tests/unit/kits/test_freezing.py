"""Processes that are frozen with all of their threads."""

from __future__ import annotations

import subprocess
import sys

from tests.kits import freezing
from tests.kits.waiting import wait_until

# Many threads that work all the time, and one that tells when they do.
BUSY = """
import hashlib, threading

def work():
    while True:
        hashlib.sha256(bytes(1_000_000))

for _ in range(16):
    threading.Thread(target=work, daemon=True).start()
print("busy", flush=True)
threading.Event().wait()
"""


def test_each_thread_stands_when_a_process_is_frozen() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"busy\n"
            assert not freezing.stands(process.pid)
            for _ in range(20):
                freezing.freeze(process.pid)
                assert freezing.stands(process.pid)
                freezing.thaw(process.pid)
                wait_until(lambda: not freezing.stands(process.pid), "it goes on")
        finally:
            process.kill()
