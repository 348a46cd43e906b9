"""What the keys of sends take: the server has them, and a chain may set them anew."""

from __future__ import annotations

from typing import Final

from rpcproxy.config.model import Journal
from rpcproxy.config.problems import Unfit
from rpcproxy.config.reading import units
from rpcproxy.config.reading.converters import DirectoryOr, duration
from rpcproxy.config.reading.reading import (
    Reading,
    Section,
    as_switch,
    described,
    scalar,
    takes,
)
from rpcproxy.config.reading.schema_shapes import AFTER_DURATION, OFF, either
from rpcproxy.config.reading.source import Node, Scalar

_PLACE: Final = "a directory, off, or a mapping with path"
_FALLBACK: Final = "after and a duration, such as after 30s, or off"
_AFTER: Final = "after "


def journal(section: Section) -> DirectoryOr[Journal]:
    """A directory, ``off`` or ``on``, or a section with both."""
    return DirectoryOr(section, Journal, _PLACE)


@takes(either(OFF, AFTER_DURATION))
def private_fallback(node: Node, reading: Reading) -> float:
    """Seconds; 0 for never."""
    value = scalar(node, _FALLBACK)
    if as_switch(value) is False:
        return 0.0
    rest = value.text.removeprefix(_AFTER).strip()
    if rest == value.text:
        raise Unfit(f"is {described(node)}", _FALLBACK, _meant(value))
    # What the environment holds is not repeated in a message.
    written = rest if value.text == value.written else value.written
    return duration(Scalar(value.line, rest, value.kind, written), reading)


def _meant(value: Scalar) -> str:
    if value.text != value.written:
        return ""
    try:
        units.duration_seconds(value.text)
    except Unfit as unfit:
        return unfit.meant and f"{_AFTER}{unfit.meant}"
    return f"{_AFTER}{value.text}"
