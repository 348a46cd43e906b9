"""How an extra, such as ``report``, is added to this copy of rpcproxy: from where that itself came.

A name on a package index is no answer: ours may be another's there. What an installer wrote down
(``direct_url.json``) says where a copy came from. No state.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

_NAME: Final = "rpcproxy"
_PACKAGE: Final = Path(__file__).resolve().parents[2]


class InstalledCopy(NamedTuple):
    """What is known of a copy. ``direct_url`` as the installer wrote it down, ``None`` where it did
    not. ``clone``: the directory with our pyproject.toml that the code runs from. ``installer``:
    its name, such as ``pip``. ``requires`` as the metadata have it.
    """

    direct_url: dict[str, Any] | None = None
    clone: Path | None = None
    installer: str = ""
    requires: Sequence[str] = ()
    python: str = sys.executable
    has_pip: bool = True


def how_to_add(extra: str) -> str:
    """A command line, or words where none would be right."""
    return command_for(extra, this_copy())


def this_copy() -> InstalledCopy:
    """What can be found out of the one that runs; nothing is raised."""
    from importlib import metadata  # noqa: PLC0415 -- a start without faults has no use for it

    clone = _PACKAGE.parent if (_PACKAGE.parent / "pyproject.toml").is_file() else None
    has_pip = find_spec("pip") is not None
    try:
        found = metadata.distribution(_NAME)
        direct_url = json.loads(found.read_text("direct_url.json") or "null")
        installer = (found.read_text("INSTALLER") or "").strip()
    except (metadata.PackageNotFoundError, OSError, ValueError):
        return InstalledCopy(clone=clone, has_pip=has_pip)
    given = direct_url if isinstance(direct_url, dict) else None
    return InstalledCopy(given, clone, installer, found.requires or (), sys.executable, has_pip)


def command_for(extra: str, copy: InstalledCopy) -> str:
    """As ``how_to_add``, of any copy."""
    source = _source(extra, copy) or _packages(extra, copy.requires)
    if not source:
        return f"install rpcproxy again the way it was installed here, with its extra {extra!r}"
    if copy.has_pip:
        return f"{shlex.quote(copy.python)} -m pip install {source}"
    if copy.installer == "uv":
        return f"uv pip install --python {shlex.quote(copy.python)} {source}"
    return f"pip --python {shlex.quote(copy.python)} install {source}"


def _source(extra: str, copy: InstalledCopy) -> str:
    """What to install, as a shell takes it; empty where that is not known."""
    if copy.direct_url is None:
        return "" if copy.clone is None else shlex.quote(f"{copy.clone}[{extra}]")
    url = str(copy.direct_url.get("url", ""))
    parts = urlsplit(url)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        if not path.exists():
            return ""
        dir_info = copy.direct_url.get("dir_info")
        is_editable = isinstance(dir_info, dict) and bool(dir_info.get("editable"))
        return f"{'-e ' if is_editable else ''}{shlex.quote(f'{path}[{extra}]')}"
    if not parts.netloc or "@" in parts.netloc:  # a password, perhaps
        return ""
    vcs = copy.direct_url.get("vcs_info")
    if isinstance(vcs, dict):
        url = f"{vcs.get('vcs', 'git')}+{url}@{vcs.get('commit_id', '')}".removesuffix("@")
    return shlex.quote(f"{_NAME}[{extra}] @ {url}")


def _packages(extra: str, requires: Sequence[str]) -> str:
    """What the extra consists of, each as a shell takes it."""
    wanted = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    split = (each.partition(";") for each in requires)
    return " ".join(shlex.quote(what.strip()) for what, _, marker in split if wanted.search(marker))
