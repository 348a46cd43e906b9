"""``rpcproxy init``: asks, tries the upstreams, writes a configuration."""

from __future__ import annotations

from rpcproxy.commands import Commands, Run
from rpcproxy.commands.tx import count


def add(commands: Commands) -> None:
    parser = commands.add_parser("init", help="ask, try the upstreams, write a configuration")
    parser.add_argument(
        "chains",
        nargs="*",
        metavar="CHAIN",
        help="known chains by name or id, and URLs of nodes; asked for if none",
    )
    parser.add_argument("--name", help="what to call the chain of a node that is not known")
    parser.add_argument(
        "--chain-id", type=count, metavar="N", help="its id, where the node cannot be asked now"
    )
    parser.add_argument("--block-time", metavar="TIME", help="how far apart its blocks are: 2s")
    parser.add_argument(
        "-o", "--output", metavar="FILE", default="rpcproxy.yaml", help="(default rpcproxy.yaml)"
    )
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.add_argument("--offline", action="store_true", help="ask no upstream anything")
    parser.set_defaults(load=_load)


def _load() -> Run:
    # Imported here: no other command has use for it.
    from rpcproxy.commands.runs.init_run import run  # noqa: PLC0415

    return run
