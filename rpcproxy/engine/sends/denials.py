"""Why a transaction is not sent, or its wallet cannot be told no: values that go up."""

from __future__ import annotations

import enum
from typing import Final

from rpcproxy.reasons import Worded

NOT_SENT: Final = "not sent, and not sent later"
OPENING: Final = "the journal of transactions is still being opened"
UNUSABLE: Final = "the journal cannot be used"


class Denial(enum.Enum):
    """Whether a client can be told no. ``UNWRITTEN``: a restart may forget that it was."""

    FIRM = enum.auto()
    UNWRITTEN = enum.auto()
    TOO_LATE = enum.auto()


class Unwritten(Worded):
    """A transaction could not be written down, and why."""

    usual = "it could not be written down"
