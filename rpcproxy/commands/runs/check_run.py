"""``rpcproxy check``: is this configuration right, and is everybody in it well?"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final

import uvloop

from rpcproxy.app.checkup.checkup import Checkup, check, check_offline
from rpcproxy.app.process.process import check_certificate
from rpcproxy.app.process.standard_streams import drop_output
from rpcproxy.app.tracing import check_traces
from rpcproxy.chains.known import KNOWN
from rpcproxy.commands.runs import check_view
from rpcproxy.commands.runs.check_progress import Progress
from rpcproxy.config.load import from_names, load_file
from rpcproxy.config.model import Config
from rpcproxy.config.warn import single_point_warnings
from rpcproxy.edges.cloud_ranges import CloudRanges, RangesError
from rpcproxy.edges.logs import Redactor, configure, secrets_of

FINE: Final = 0
TROUBLE: Final = 1
USAGE_ERROR: Final = 2


def run(options: argparse.Namespace) -> int:
    """Look, and print what was found."""
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
    try:
        if is_json:
            print(check_view.document(checkup, warnings, redactor))
        else:
            check_view.show(checkup, warnings, redactor)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
