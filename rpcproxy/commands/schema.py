"""``rpcproxy schema``: the JSON Schema of the configuration, for editors."""

from __future__ import annotations

import argparse
import json
import sys

from rpcproxy.commands import Commands


def add(commands: Commands) -> None:
    parser = commands.add_parser("schema", help="JSON Schema of the configuration, for editors")
    parser.set_defaults(load=lambda: _run)


def text() -> str:
    """As it is shipped beside the examples: config/rpcproxy.schema.json."""
    # Imported here: no other command needs it.
    from rpcproxy.chains.known import KNOWN  # noqa: PLC0415
    from rpcproxy.config.json_schema import schema  # noqa: PLC0415

    return json.dumps(schema(KNOWN.kinds), indent=1, ensure_ascii=False) + "\n"


def _run(options: argparse.Namespace) -> int:  # noqa: ARG001 -- it has none
    sys.stdout.write(text())
    return 0
