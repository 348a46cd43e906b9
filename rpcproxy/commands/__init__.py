"""Commands: the options of each and its help, one module for each. What they do is in ``runs``;
``completion`` and ``schema`` do it by themselves.

``add(commands)`` gives a command its parser, with ``load``, which imports what it needs: a ``Run``.
May import ``runs``, and every floor below, within functions: each start builds all parsers.
Must not load what a command needs before it is chosen.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 -- no other name
else:
    Commands = object

# Its exit code: 0, 1 for what was found wrong, 2 for what the user can mend in how it was called.
Run: TypeAlias = Callable[[argparse.Namespace], int]
