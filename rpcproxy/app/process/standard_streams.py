"""The standard streams of a process: opened, closed, or not to be written.

Every command starts with this, so that it loads next to nothing.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Mapping
from typing import Final, TextIO

_DIGITS: Final = 5  # of a number of columns


def open_standard_streams() -> None:
    """Started with a standard stream closed (``>&-``), the next file opened would take its
    place, and libuv ends the process when a pipe does.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


# What writing to a standard stream meets: nobody reads, it is closed, its disk is full or broken.
_UNWRITTEN: Final = frozenset(
    {errno.EPIPE, errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
)


def print_anything() -> None:
    """What the encoding of standard output lacks is replaced, and ends no command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def replace_closed_output() -> None:
    """Where standard output was closed at the start, Python has ``None``, and drops what is
    printed: have a stream that fails as one on a broken disk does.
    """
    if sys.stdout is None:
        raw = io.FileIO(os.open(os.devnull, os.O_RDONLY), "w")
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")


def columns_of(out: TextIO | None, environ: Mapping[str, str]) -> int | None:
    """How wide whoever reads wants it: as ``COLUMNS`` says, else as the terminal is; ``None`` where
    neither is known, as in a pipe.
    """
    given = environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given[:_DIGITS]) > 0:
        return int(given[:_DIGITS])
    try:
        if out is not None and out.isatty():
            return os.get_terminal_size(out.fileno()).columns or None
    except (OSError, ValueError):  # closed, or held in memory
        pass
    return None


def is_unwritten(error: OSError) -> bool:
    """Of an error that no command met: a standard stream could not be written."""
    return error.errno in _UNWRITTEN and error.filename is None


def drop_output() -> None:
    """Whoever reads has seen enough, or cannot be reached: what is left in the buffer must not fail
    again at the end.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
