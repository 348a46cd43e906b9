"""How results that two upstreams gave to one request are compared, whatever the chain. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class Form(msgspec.Struct, frozen=True, gc=False):
    """How results of a method are read. ``spelled_as`` is the member whose spelling a result that
    is no object follows; ``core`` names what an object must hold where the other one does.
    ``settled_by`` is the member that an object lacks while it may still change, empty where it
    never does.
    """

    spelled_as: str = ""
    core: tuple[str, ...] = ()
    settled_by: str = ""


def as_it_stands(value: str | int, member: str) -> object:
    """Values that each have one spelling."""
    del member
    return value


def never(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Nothing is waived."""
    del name, one, other
    return False


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What of a kind's results can be compared, and how.

    - ``forms``: by the methods whose results mean the same at all honest providers
    - ``spell``: from a text or a whole number and the member that holds it, one value for all
      spellings of it
    - ``ignored``: members in which providers that serve the same chain are known to differ
    - ``within``: members that hold objects with a core of their own
    - ``is_waived``: whether honest providers differ in this member of just these two objects
    """

    forms: Mapping[str, Form]
    spell: Callable[[str | int, str], object] = as_it_stands
    ignored: frozenset[str] = frozenset()
    within: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    is_waived: Callable[[str, Mapping[str, Any], Mapping[str, Any]], bool] = never
