"""Commands that do not serve: what they take, what they print; one module for each.

``add(commands)`` gives a command its parser, and a function of the options that returns the exit
code: 0, 1 for what was found wrong, 2 for what the user can mend in how it was called.
May import every floor below. Must not know how something is found out: that is asked of ``app``.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 -- no other name
else:
    Commands = object
