"""The commands that do not serve, one module each: what they take, what they print.

``add(commands)`` gives a command its parser, and a function of the options that returns the exit
code: 0, 1 for what was found wrong, 2 for what the user can mend in how it was called. What a
command knows, it asks of ``app``.

``check`` asks every upstream, with ``check_progress`` meanwhile and ``check_view`` in the end.
``init`` asks and writes a first configuration, ``schema`` prints what editors need.

``completion`` prints a script for a shell; ``manual`` is the help page of each command.

``report`` prints the report card, with ``report_view`` as text, ``report_page`` and
``report_plots`` as HTML.

``top`` shows the status of a running proxy, drawn by ``top_view``.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 -- no other name
else:
    Commands = object
