"""``${NAME}`` and ``${NAME:-default}`` in strings. Pure: the environment is an argument."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from rpcproxy.config.problems import Unfit, listed, nearest

# The first alternative is the escape, the last one a reference that is never closed.
_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_INNER: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_FORM: Final = "${NAME} or ${NAME:-default}, and $${ for a literal ${"


def expand(text: str, environ: Mapping[str, str]) -> str:
    """``text`` with its references filled in; ``$${`` stands for a literal ``${``.

    As in a shell, the default of ``${NAME:-default}`` is used where NAME is unset or empty.
    Line breaks at the end of a variable are dropped: secrets read from files carry them.
    Raises ``Unfit`` for a malformed reference and for variables that are unset or empty.
    """
    unset: list[str] = []
    empty: list[str] = []

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        inner = _INNER.fullmatch(match[1]) if match[1] is not None else None
        if inner is None or (inner[2] is not None and "${" in inner[2]):
            raise Unfit("holds ${ that begins no reference", _FORM)
        name, default = inner[1], inner[2]
        value = environ.get(name, "").rstrip("\r\n")
        if value:
            return value
        if default is None:
            (empty if name in environ else unset).append(name)
        return default or ""

    expanded = _REFERENCE.sub(replacement, text)
    if unset:
        names = listed(dict.fromkeys(unset), "and")
        are = "s" if len(set(unset)) > 1 else ""
        raise Unfit(
            f"needs the environment variable{are} {names}, not set",
            f"a value, or a default as in ${{{unset[0]}:-…}}",
            nearest(unset[0], environ) if len(unset[0]) > 3 else "",
        )
    if empty:
        raise Unfit(
            f"needs the environment variable {empty[0]}, which is set but empty",
            f"a value, or ${{{empty[0]}:-}} where empty is meant",
        )
    return expanded


def forgotten_braces(text: str, environ: Mapping[str, str]) -> str:
    """The variable that ``text`` names as ``$NAME``, which is left alone; empty where none.

    Only a name that is in the environment is told: anything else may be part of a password.
    """
    for match in re.finditer(r"\$([A-Za-z_][A-Za-z0-9_]*)", text):
        if match[1] in environ:
            return match[1]
    return ""
