"""``rpcproxy serve``: the process that serves, from its configuration to its last signal."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvloop

from rpcproxy.app.process.allocator import return_large_blocks
from rpcproxy.app.process.hang_ups import HangUps
from rpcproxy.app.process.ports import explain_refusal
from rpcproxy.app.process.process import check_certificate, raise_file_limit
from rpcproxy.app.proxy import Proxy
from rpcproxy.app.service import Service
from rpcproxy.app.takeover import takeover
from rpcproxy.app.takeover.offer import Offer
from rpcproxy.app.tracing import check_traces
from rpcproxy.chains.known import KNOWN
from rpcproxy.chains.registry import KINDS
from rpcproxy.config.load import from_names, load_file
from rpcproxy.config.model import Config
from rpcproxy.config.problems import ConfigError
from rpcproxy.edges.logs import Redactor, catch_crashes, configure, event, secrets_of
from rpcproxy.edges.process.notify_socket import NotifySocket
from rpcproxy.engine import tasks
from rpcproxy.engine.sends.ledger import unheard
from rpcproxy.messages import encode_call

_log = logging.getLogger("rpcproxy.cli")

USAGE_ERROR: Final = 2
WATCH_FILE_SECONDS: Final = 1.0


def run(options: argparse.Namespace) -> int:
    """Serve until a signal; returns the exit code."""
    wrong = _wrong(options)
    if wrong:
        print(wrong, file=sys.stderr)
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


def _wrong(options: argparse.Namespace) -> str:
    """What does not go together, in words; empty where all does."""
    if bool(options.config) == bool(options.chains):
        return (
            "rpcproxy serve needs either -c FILE or names of chains, as in: "
            "rpcproxy serve ethereum base"
        )
    if options.config:
        for name, key in (("port", "listen"), ("listen", "listen"), ("admin", "admin")):
            if getattr(options, name) is not None:
                return (
                    f"rpcproxy serve: --{name} goes with names of chains; with -c the file has it: "
                    f"set server.{key} in {options.config}"
                )
    return ""


def _load(options: argparse.Namespace) -> Config:
    if options.config:
        return load_file(options.config, KNOWN, os.environ)
    listen = options.listen if options.port is None else f"127.0.0.1:{options.port}"
    given = {"listen": listen, "admin": options.admin}
    places = {key: text for key, text in given.items() if text is not None}
    return from_names(options.chains, KNOWN, os.environ, places)


async def _serve_until_signal(
    config: Config, options: argparse.Namespace, redactor: Redactor
) -> int:
    loop = asyncio.get_running_loop()
    stopping, reloading = asyncio.Event(), asyncio.Event()
    why: list[str] = []

    def stop(signum: signal.Signals) -> None:
        why.append(signum.name)
        stopping.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop, signum)
    hang_ups = options.hang_ups or HangUps()
    on_step = options.on_step or unheard
    proxy = Proxy(config, config_path=options.config, redactor=redactor, on_step=on_step)
    reload = reloading.set if options.config else None
    hang_ups.hand_over(loop, proxy.clock.monotonic, end=lambda: stop(signal.SIGHUP), reload=reload)
    service = Service(proxy, NotifySocket.of(os.environ, os.getpid()))
    try:
        has_taken = await takeover.start(proxy, os.environ, takes_over=options.takeover)
    except takeover.NotTaken as error:
        event(_log, logging.ERROR, "start", str(error))
        return 1
    except OSError as error:
        words = await asyncio.to_thread(_refused, config, options, error)
        event(_log, logging.ERROR, "start", words)
        return USAGE_ERROR
    offer = Offer(proxy, stopping.set)
    offer.start()
    # What was built at the start lives on: keep the collector from walking it again and again.
    gc.freeze()
    watching = None
    if options.config:
        watching = tasks.start(
            _watch_file(proxy, options, reloading, on_look=hang_ups.look), "watch configuration"
        )
        proxy.control.ask_reload = reloading.set
    _announce(proxy)
    service.start(is_new_process=has_taken)
    await stopping.wait()
    words = "another process has taken over" if offer.is_taken else "stopping"
    event(_log, logging.INFO, "drain", f"{words}: requests in flight are finished first")
    service.stopping()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, _leave_at_once)
    await tasks.stop(watching)
    await offer.close()
    await proxy.stop(is_followed=offer.is_taken, why=", ".join(why))
    await service.close()
    return 0


def _refused(config: Config, options: argparse.Namespace, error: OSError) -> str:
    """Why a port cannot be had, and what to do; looks who has it."""

    def choose(key: str, free: str) -> str:
        if options.config:
            how = f"set server.{key} in {options.config} to another one, such as {free}"
        else:
            is_port = key == "listen" and free.startswith("127.0.0.1:")
            option = f"--port {free.rpartition(':')[2]}" if is_port else f"--{key} {free}"
            how = f"choose another one: rpcproxy serve {' '.join(options.chains)} {option}"
        return takeover.remedy(config, how)

    return explain_refusal(error, config.server, choose, _namings())


def _namings() -> list[bytes]:
    """Requests by whose answers nodes of each kind name their program."""
    surveys = [kind.survey for kind in KINDS.values()]
    versions = [survey.version for survey in surveys if survey is not None and survey.version]
    return [encode_call(1, each.method.name, each.params) for each in versions]


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


async def _watch_file(
    proxy: Proxy,
    options: argparse.Namespace,
    reloading: asyncio.Event,
    look_seconds: float = WATCH_FILE_SECONDS,
    on_look: Callable[[], object] = lambda: None,
) -> None:
    """Reload on SIGHUP and when the file has changed; a bad file is refused in words. ``on_look``
    is called at each look.
    """
    seen = _fingerprint(options.config)
    while True:
        try:
            # Not wait_for, which until Python 3.12 may swallow the cancellation at the end.
            async with asyncio.timeout(look_seconds):
                await reloading.wait()
            is_asked = True
        except TimeoutError:
            is_asked = False
        by = "a signal (SIGHUP)" if is_asked else "a change of the file"
        reloading.clear()
        on_look()
        found = _fingerprint(options.config)
        if found == seen and not is_asked:
            continue
        seen = found
        if found is None and not is_asked:
            continue  # between an editor's remove and rename
        try:
            config = await asyncio.to_thread(_load, options)
            check_certificate(config.server)
            check_traces(config.server)
        except ConfigError as error:
            proxy.refuse_reload(str(error), by)
            continue
        for warning in config.warnings:
            event(_log, logging.WARNING, "config", warning)
        try:
            proxy.reload(config, by)
        except Exception as error:  # noqa: BLE001 - logged; the one in force goes on
            _log.exception("reload failed")
            proxy.refuse_reload(type(error).__name__, by)


def _fingerprint(path: str) -> tuple[int, int, int] | None:
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
