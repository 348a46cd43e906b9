"""``rpcproxy serve``: the proxy itself."""

from __future__ import annotations

from rpcproxy.commands import Commands, Run
from rpcproxy.commands.demo import port_of


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("serve", help="run the proxy")
    parser.add_argument("chains", nargs="*", help="known chains, on their public endpoints")
    parser.add_argument("-c", "--config", metavar="FILE", help="a configuration file (YAML)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--port", type=port_of, metavar="N", help="the wallet port, on 127.0.0.1 (default 8545)"
    )
    where.add_argument("--listen", metavar="HOST:PORT", help="where wallets are served")
    parser.add_argument(
        "--admin", metavar="HOST:PORT", help="the admin port (default 127.0.0.1:9545), or off"
    )
    parser.add_argument(
        "--takeover",
        action="store_true",
        help="take the ports over from the rpcproxy that serves there, which then ends",
    )
    parser.set_defaults(load=load)


def load() -> Run:
    """Import what it needs."""
    # Imported here: no other command has use for it.
    from rpcproxy.commands.runs.serve_run import run  # noqa: PLC0415

    return run
