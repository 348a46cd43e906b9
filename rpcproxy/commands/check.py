"""``rpcproxy check``: is this configuration right, and is everybody in it well?"""

from __future__ import annotations

import argparse
from typing import Final

from rpcproxy.commands import Commands, Run

EPILOG: Final = """\
Without --offline every upstream is asked side by side: chain id, genesis block where it is known,
newest block and lag, latency (median of {latency} questions), client version, a batch, a multicall
of 22 KB, a search for logs over {logs:,} blocks, how far back its state goes, and a subscription
to new blocks where it has a ws_url.

cost:
  At most {calls} calls of each upstream, most of them small ones. At most {seconds:g} s in all.

cloud ranges:
  The files that clouds publish, from disk; nothing is downloaded. AWS ip-ranges.json, Google
  cloud.json, Azure ServiceTags_….json, Cloudflare ips-v4 and ips-v6; of Hetzner, OVH and others a
  list with one network a line, or a geofeed, as NAME=FILE where the file's name does not say whose
  it is. They fill in clouds that the configuration leaves out, and are marked as guesses.

exit codes:
  0    all is well
  1    an upstream cannot be used or is on another chain, or the loss of one upstream, company,
       cloud or region would leave nobody, and accept_single_point: true does not allow that
  2    the configuration or a file of ranges has a mistake

examples:
  rpcproxy check -c rpcproxy.yaml             everything
  rpcproxy check ethereum base                what `rpcproxy serve ethereum base` would use
  rpcproxy check -c rpcproxy.yaml --offline   the file alone
  rpcproxy check -c rpcproxy.yaml --cloud-ranges ip-ranges.json hetzner=hetzner.txt
"""


def add(commands: Commands) -> None:
    parser = commands.add_parser(
        "check",
        help="validate a configuration, and ask every upstream what it can do",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Validate a configuration, ask every upstream what wallets will ask of it, "
        "and tell\nwhat the loss of each cloud, region and company would leave.",
        epilog=_epilog(),
    )
    parser.add_argument("chains", nargs="*", help="known chains, as serve takes them")
    parser.add_argument("-c", "--config", metavar="FILE", help="a configuration file (YAML)")
    parser.add_argument("--offline", action="store_true", help="ask nobody: validate alone")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument(
        "--cloud-ranges",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="published address ranges, to guess clouds by",
    )
    parser.set_defaults(load=_load)


def _epilog() -> str:
    # What is said here of numbers is held against the code by a test: to import it from there
    # would load everything that serves, for each command.
    return EPILOG.format(calls=24, seconds=20, latency=5, logs=1000)


def _load() -> Run:
    # Imported here: no other command has use for it.
    from rpcproxy.commands.runs.check_run import run  # noqa: PLC0415

    return run
