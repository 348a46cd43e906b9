"""Makes what stands in files of its own and comes from ``rpcproxy/config``: the tables of
docs/configuration.md and the JSON Schema. ``python -m tools.configuration_page``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from rpcproxy.commands.schema import text
from rpcproxy.config.json_schema import tables

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "configuration.md"
SCHEMA: Final = ROOT / "config" / "rpcproxy.schema.json"


def main() -> int:
    PAGE.write_text(tables(PAGE.read_text()))
    SCHEMA.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
