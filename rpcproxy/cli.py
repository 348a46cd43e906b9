"""The commands. Every way to fail ends in words and an exit code: 2 for what the user can mend."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import uvloop

from rpcproxy import __version__
from rpcproxy.app.people import tx
from rpcproxy.app.process.allocator import return_large_blocks
from rpcproxy.app.process.ports import explain_port
from rpcproxy.app.process.process import (
    check_certificate,
    drop_output,
    is_unwritten,
    open_standard_streams,
    print_anything,
    raise_file_limit,
    replace_closed_output,
)
from rpcproxy.app.proxy import Proxy
from rpcproxy.app.service import Service
from rpcproxy.app.takeover import takeover
from rpcproxy.app.takeover.offer import Offer
from rpcproxy.app.tracing import check_traces
from rpcproxy.chains.known import KNOWN
from rpcproxy.chains.registry import HASH_WORDS, hash_of
from rpcproxy.commands import Commands, check, completion, init, manual, report, schema, top
from rpcproxy.config.load import from_names, load_file
from rpcproxy.config.model import Config
from rpcproxy.config.problems import ConfigError
from rpcproxy.edges.logs import Redactor, catch_crashes, configure, event, secrets_of
from rpcproxy.edges.process.notify_socket import NotifySocket
from rpcproxy.engine import tasks
from rpcproxy.engine.sends.ledger import OnStep, unheard
from rpcproxy.front.operators.admin_transactions import no_hash

_log = logging.getLogger("rpcproxy.cli")

# Each has ``add(commands)``; see rpcproxy/commands.
COMMANDS: Final[Sequence[Callable[[Commands], None]]] = (
    check.add,
    completion.add,
    init.add,
    schema.add,
    report.add,
    top.add,
)

USAGE_ERROR: Final = 2
WATCH_FILE_SECONDS: Final = 1.0
HIGHEST_PORT: Final = 65535
MOST_DIGITS: Final = 18


def main(arguments: Sequence[str] | None = None, *, on_step: OnStep = unheard) -> int:
    """Run a command; returns the exit code. ``on_step`` is told of the steps of sends."""
    open_standard_streams()
    print_anything()
    code: int = 0
    try:
        try:
            options = _parser().parse_args(arguments)
            options.on_step = on_step
            if options.run not in (_serve, _demo):  # which log, for as long as they run
                replace_closed_output()
            code = options.run(options)
        finally:
            # At the exit of the process it would be too late for words; --help ends here, too.
            if sys.stdout is not None:
                sys.stdout.flush()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if not is_unwritten(error):
            raise
        return _end_unwritten(error, code)
    return code


def _end_unwritten(error: OSError, code: int) -> int:
    drop_output()
    if isinstance(error, BrokenPipeError):
        return code
    with contextlib.suppress(OSError):  # that may be what cannot be written
        print(f"rpcproxy: the output cannot be written: {error.strerror}", file=sys.stderr)
    return USAGE_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rpcproxy",
        description="A JSON-RPC failover proxy: one URL for the wallet, several providers behind.",
    )
    parser.add_argument("--version", action="version", version=f"rpcproxy {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the proxy")
    serve.add_argument("chains", nargs="*", help="known chains, on their public endpoints")
    serve.add_argument("-c", "--config", metavar="FILE", help="a configuration file (YAML)")
    serve.add_argument(
        "--takeover",
        action="store_true",
        help="take the ports over from the rpcproxy that serves there, which then ends",
    )
    serve.set_defaults(run=_serve)
    demo = commands.add_parser("demo", help="simulated providers, outages, and the proxy in front")
    demo.add_argument("--port", type=_port, default=8545, help="the wallet port (default 8545)")
    demo.add_argument(
        "--admin-port", type=_port, help="the status port (default: the wallet port + 1000)"
    )
    demo.add_argument("--no-outages", action="store_true", help="keep all providers well")
    demo.add_argument("--seconds", type=_positive, help="end by itself after this time")
    demo.add_argument(
        "--pace", type=_positive, default=1.0, help="scenes last this many times as long"
    )
    demo.set_defaults(run=_demo)
    _add_tx(commands.add_parser("tx", help="the transactions that wallets sent"))
    for add in COMMANDS:
        add(commands)
    manual.furnish(parser)
    parser.set_defaults(whole=parser)
    return parser


def _add_tx(parser: argparse.ArgumentParser) -> None:
    whose = argparse.ArgumentParser(add_help=False)
    where = whose.add_mutually_exclusive_group()
    where.add_argument("-c", "--config", metavar="FILE", help="the journals of its chains")
    where.add_argument("--journal", metavar="PATH", help="a journal, or a directory of journals")
    whose.add_argument("--chain", metavar="NAME", help="this chain alone")
    whose.add_argument("--json", action="store_true", help="one JSON object per transaction")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    every = commands.add_parser("list", parents=[whose], help="the newest first")
    every.add_argument(
        "--pending", action="store_true", help="only those that wait for their block"
    )
    every.add_argument(
        "--limit", type=_count, default=50, metavar="N", help="at most so many (default 50)"
    )
    every.set_defaults(run=_tx_list)
    one = commands.add_parser("show", parents=[whose], help="everything known of one")
    one.add_argument("hash", type=_hash, metavar="HASH", help=f"{HASH_WORDS}: which one")
    one.set_defaults(run=_tx_show)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 (any) to {HIGHEST_PORT}")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > MOST_DIGITS or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no whole number above 0")
    return int(text)


def _hash(text: str) -> str:
    hash = hash_of(text)
    if hash is None:
        raise argparse.ArgumentTypeError(no_hash(text, HASH_WORDS))
    return hash


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


# --------------------------------------------------------------------------
# serve


def _serve(options: argparse.Namespace) -> int:
    if bool(options.config) == bool(options.chains):
        print(
            "rpcproxy serve needs either -c FILE or names of chains, as in: "
            "rpcproxy serve ethereum base",
            file=sys.stderr,
        )
        return USAGE_ERROR
    config = _load(options)
    check_certificate(config.server)
    check_traces(config.server)
    raise_file_limit()
    return_large_blocks()
    redactor = Redactor(secrets_of(config))
    handler = configure(config.server.log, redactor=redactor)
    catch_crashes(handler)
    for warning in config.warnings:
        event(_log, logging.WARNING, "config", warning)
    try:
        return uvloop.run(_serve_until_signal(config, options, redactor))
    finally:
        handler.close()


def _load(options: argparse.Namespace) -> Config:
    if options.config:
        return load_file(options.config, KNOWN, os.environ)
    return from_names(options.chains, KNOWN, os.environ)


async def _serve_until_signal(
    config: Config, options: argparse.Namespace, redactor: Redactor
) -> int:
    loop = asyncio.get_running_loop()
    stopping, reloading = asyncio.Event(), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopping.set)
    if options.config:
        loop.add_signal_handler(signal.SIGHUP, reloading.set)
    proxy = Proxy(config, config_path=options.config, redactor=redactor, on_step=options.on_step)
    service = Service(proxy, NotifySocket.of(os.environ, os.getpid()))
    try:
        has_taken = await takeover.start(proxy, os.environ, takes_over=options.takeover)
    except takeover.NotTaken as error:
        event(_log, logging.ERROR, "start", str(error))
        return 1
    except OSError as error:
        event(_log, logging.ERROR, "start", explain_port(error, takeover.remedy(config)))
        return USAGE_ERROR
    offer = Offer(proxy, stopping.set)
    offer.start()
    # What was built at the start lives on: keep the collector from walking it again and again.
    gc.freeze()
    watching = None
    if options.config:
        watching = tasks.start(_watch_file(proxy, options, reloading), "watch configuration")
        proxy.control.ask_reload = reloading.set
    _announce(proxy)
    service.start(is_new_process=has_taken)
    await stopping.wait()
    why = "another process has taken over" if offer.is_taken else "stopping"
    event(_log, logging.INFO, "drain", f"{why}: requests in flight are finished first")
    service.stopping()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, _leave_at_once)
    await tasks.stop(watching)
    await offer.close()
    await proxy.stop(is_followed=offer.is_taken)
    await service.close()
    return 0


def _leave_at_once() -> None:
    """A second signal: somebody is in a hurry."""
    logging.shutdown()
    os._exit(130)


def _announce(proxy: Proxy) -> None:
    host, port = proxy.address
    scheme = "https" if proxy.config.server.tls else "http"
    for position, chain in enumerate(proxy.config.chains):
        path = "" if position == 0 else f"/{chain.name}"
        event(
            _log,
            logging.INFO,
            "serving",
            f"{chain.name} for wallets at {scheme}://{_host(host)}:{port}{path}",
            chain=chain.name,
            upstreams=len(chain.upstreams),
        )
    if proxy.admin_address is not None:
        admin_host, admin_port = proxy.admin_address
        event(
            _log, logging.INFO, "admin", f"status at http://{_host(admin_host)}:{admin_port}/status"
        )


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _watch_file(proxy: Proxy, options: argparse.Namespace, reloading: asyncio.Event) -> None:
    """Reload on SIGHUP and when the file has changed; a bad file is refused in words."""
    seen = _fingerprint(options.config)
    while True:
        try:
            # Not wait_for, which until Python 3.12 may swallow the cancellation at the end.
            async with asyncio.timeout(WATCH_FILE_SECONDS):
                await reloading.wait()
            is_asked = True
        except TimeoutError:
            is_asked = False
        reloading.clear()
        now = _fingerprint(options.config)
        if now == seen and not is_asked:
            continue
        seen = now
        if now is None and not is_asked:
            continue  # between an editor's remove and rename
        try:
            config = await asyncio.to_thread(_load, options)
            check_certificate(config.server)
            check_traces(config.server)
        except ConfigError as error:
            proxy.refuse_reload(str(error))
            continue
        for warning in config.warnings:
            event(_log, logging.WARNING, "config", warning)
        try:
            proxy.reload(config)
        except Exception as error:  # noqa: BLE001 - logged; the one in force goes on
            _log.exception("reload failed")
            proxy.refuse_reload(type(error).__name__)


def _fingerprint(path: str) -> tuple[int, int, int] | None:
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


# --------------------------------------------------------------------------
# tx


def _tx_list(options: argparse.Namespace) -> int:
    return _tell(
        options,
        lambda places: tx.list_transactions(
            places,
            time.time(),
            limit=options.limit,
            is_pending=options.pending,
            is_json=options.json,
        ),
    )


def _tx_show(options: argparse.Namespace) -> int:
    return _tell(
        options,
        lambda places: tx.show_transaction(places, options.hash, time.time(), is_json=options.json),
    )


def _tell(
    options: argparse.Namespace, read: Callable[[Sequence[tx.ChainJournal]], tx.ToldLines]
) -> int:
    config = load_file(options.config, KNOWN, os.environ) if options.config else None
    try:
        told = read(tx.places_of(config=config, path=options.journal, chain=options.chain))
    except tx.NoJournal as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    try:
        for line in told.lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
    for note in told.notes:
        print(note, file=sys.stderr)
    return told.code


# --------------------------------------------------------------------------
# demo


def _demo(options: argparse.Namespace) -> int:
    # Imported here: the terminal view would cost `serve` a third of its start-up time.
    from rpcproxy.drills.demo.demo import run_demo  # noqa: PLC0415

    return run_demo(
        port=options.port,
        has_outages=not options.no_outages,
        admin_port=options.admin_port,
        seconds=options.seconds,
        pace=options.pace,
    )
