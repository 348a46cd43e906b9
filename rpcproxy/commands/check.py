"""``rpcproxy check``: is this configuration right, and is everybody in it well?"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

from rpcproxy.chains.known import KNOWN
from rpcproxy.commands import Commands
from rpcproxy.config.load import from_names, load_file
from rpcproxy.config.model import Config
from rpcproxy.config.warn import single_point_warnings

if TYPE_CHECKING:
    from rpcproxy.app.checkup.checkup import Checkup
    from rpcproxy.edges.cloud_ranges import CloudRanges
    from rpcproxy.edges.logs import Redactor

FINE: Final = 0
TROUBLE: Final = 1
USAGE_ERROR: Final = 2

EPILOG: Final = """\
Without --offline every upstream is asked side by side: chain id, genesis block where it is known,
newest block and lag, latency (median of {latency} questions), client version, a batch, a multicall
of 22 KB, eth_getLogs over {logs:,} blocks, how far back its state goes, and a newHeads
subscription where it has a ws_url.

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
    parser.set_defaults(run=_check)


def _epilog() -> str:
    # What is said here of numbers is held against the code by a test: to import it from there
    # would load everything that serves, for each command.
    return EPILOG.format(calls=24, seconds=20, latency=5, logs=1000)


def _check(options: argparse.Namespace) -> int:
    # Imported here: `serve` starts without them.
    from rpcproxy.app.process.process import check_certificate  # noqa: PLC0415
    from rpcproxy.app.tracing import check_traces  # noqa: PLC0415
    from rpcproxy.edges.cloud_ranges import CloudRanges, RangesError  # noqa: PLC0415
    from rpcproxy.edges.logs import Redactor, secrets_of  # noqa: PLC0415

    if bool(options.config) == bool(options.chains):
        print(
            "rpcproxy check needs either -c FILE or names of chains, as in: "
            "rpcproxy check ethereum base",
            file=sys.stderr,
        )
        return USAGE_ERROR
    config = _load(options)
    check_certificate(config.server)
    check_traces(config.server)
    try:
        ranges = CloudRanges.read(options.cloud_ranges) if options.cloud_ranges else None
    except RangesError as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    redactor = Redactor(secrets_of(config))
    checkup = _look(config, ranges, redactor, is_offline=options.offline)
    warnings = [*_warnings(config), *(ranges.notes if ranges else ())]
    _tell(checkup, warnings, redactor, is_json=options.json)
    return TROUBLE if checkup.has_trouble else FINE


def _load(options: argparse.Namespace) -> Config:
    if options.config:
        return load_file(options.config, KNOWN, os.environ)
    return from_names(options.chains, KNOWN, os.environ)


def _look(
    config: Config, ranges: CloudRanges | None, redactor: Redactor, *, is_offline: bool
) -> Checkup:
    import uvloop  # noqa: PLC0415 -- what `serve` runs on

    from rpcproxy.app.checkup.checkup import check, check_offline  # noqa: PLC0415 -- as above
    from rpcproxy.commands.check_progress import Progress  # noqa: PLC0415 -- as above
    from rpcproxy.edges.logs import configure  # noqa: PLC0415 -- as above

    if is_offline:
        return check_offline(config, ranges)
    handler = configure("text", redactor=redactor)
    try:
        with Progress(config, sys.stderr) as progress:
            return uvloop.run(check(config, ranges, on_step=progress.on_step))
    finally:
        handler.close()


def _warnings(config: Config) -> list[str]:
    """Those of the configuration, but for single points of failure, of which more is told."""
    told = {words for chain in config.chains for words in single_point_warnings(chain)}
    return [
        warning for warning in config.warnings if not any(warning.endswith(words) for words in told)
    ]


def _tell(checkup: Checkup, warnings: list[str], redactor: Redactor, *, is_json: bool) -> None:
    from rpcproxy.app.process.process import drop_output  # noqa: PLC0415 -- as above
    from rpcproxy.commands import check_view  # noqa: PLC0415 -- as above

    try:
        if is_json:
            print(check_view.document(checkup, warnings, redactor))
        else:
            check_view.show(checkup, warnings, redactor)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
