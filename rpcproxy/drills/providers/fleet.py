"""Several simulated providers of one chain in a process of their own, with a control port.

``python -m rpcproxy.drills.providers.fleet --name aws --name gcp`` prints one line of JSON,
``{"control": URL, "providers": {name: URL}}``, and serves until SIGTERM, SIGINT, or the end
of its input where ``--until-eof`` is given (so that it ends with whoever started it).

The control port speaks HTTP and JSON:

* ``GET /state``: ``{"head": N, "providers": {name: {"url", "fault", "counts"}}}``;
* ``POST /fault`` ``{"provider": name, "fault": Fault | null}``;
* ``POST /lag`` ``{"provider": name, "blocks": N}``;
* ``POST /mine``: one block at once; ``POST /halt`` and ``POST /resume``: the ticker.

Every answer is the new state; what it does not understand is a 404 with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
import sys
import time
from typing import Any

import msgspec
import uvloop

from rpcproxy.drills.evm.simchain import SimChain
from rpcproxy.drills.providers.provider import Counts, Provider, Ticker
from rpcproxy.drills.providers.wire import After, Incoming, ServerConnection, head
from rpcproxy.drills.scenarios.fault import Fault


class ProviderState(msgspec.Struct):
    url: str
    fault: str
    counts: Counts


class FleetState(msgspec.Struct):
    head: int
    providers: dict[str, ProviderState]


class FleetOrder(msgspec.Struct):
    """The body of a ``POST`` to the control port."""

    provider: str = ""
    fault: Fault | None = None
    blocks: int = 0


class Fleet:
    """The providers, their chain's ticker, and the host of control connections."""

    def __init__(self, providers: list[Provider], ticker: Ticker) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._ticker = ticker
        self._chain = providers[0].chain
        self._control: asyncio.Server | None = None
        self.control_url = ""

    async def start(self, control_port: int = 0) -> None:
        """Listen everywhere and let the chain run. Raises ``OSError``: a port is taken."""
        for provider in self._providers.values():
            provider.start()
        loop = asyncio.get_running_loop()
        self._control = await loop.create_server(
            lambda: ServerConnection(self), "127.0.0.1", control_port
        )
        port = self._control.sockets[0].getsockname()[1]
        self.control_url = f"http://127.0.0.1:{port}"
        self._ticker.start()

    def stop(self) -> None:
        self._ticker.stop()
        if self._control is not None:
            self._control.close()
        for provider in self._providers.values():
            provider.stop()

    def state(self) -> FleetState:
        return FleetState(
            self._chain.head,
            {
                name: ProviderState(provider.url, provider.fault.name, provider.counts)
                for name, provider in self._providers.items()
            },
        )

    def urls(self) -> dict[str, str]:
        return {name: provider.url for name, provider in self._providers.items()}

    # --- Host of the control connections

    def on_open(self, connection: ServerConnection) -> None: ...

    def on_idle(self, connection: ServerConnection) -> None: ...

    def on_closed(self, connection: ServerConnection) -> None: ...

    def on_request(self, connection: ServerConnection, incoming: Incoming) -> None:
        status, reply = 200, b""
        try:
            self._obey(incoming)
            reply = msgspec.json.encode(self.state())
        except (KeyError, msgspec.MsgspecError) as error:
            status, reply = 404, msgspec.json.encode({"error": str(error)})
        lines = ("Content-Type: application/json", f"Content-Length: {len(reply)}")
        after = After.CLOSE if incoming.is_last else After.KEEP
        connection.send([head(status, *lines) + reply], after)

    def _obey(self, incoming: Incoming) -> None:
        order = msgspec.json.decode(incoming.body or b"{}", type=FleetOrder)
        match incoming.verb + b" " + incoming.target:
            case b"GET /state":
                pass
            case b"POST /fault":
                self._providers[order.provider].set_fault(order.fault)
            case b"POST /lag":
                self._providers[order.provider].lag_blocks = order.blocks
            case b"POST /mine":
                self._chain.mine(time.time())
            case b"POST /halt":
                self._ticker.stop()
            case b"POST /resume":
                self._ticker.start()
            case unknown:
                raise KeyError(unknown.decode(errors="replace"))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rpcproxy.drills.providers.fleet", description=__doc__
    )
    parser.add_argument("--name", action="append", required=True, help="one per provider")
    parser.add_argument("--port", action="append", type=int, default=[], help="in their order")
    parser.add_argument("--control-port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds")
    parser.add_argument("--chain-id", type=int, default=1337)
    parser.add_argument("--block-time", type=float, default=2.0, help="seconds")
    parser.add_argument("--start-number", type=int, default=20_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--skip-every", type=int, default=0, help="heights without a block")
    parser.add_argument("--tls-certificate", help="PEM file with the chain and the key")
    parser.add_argument("--until-eof", action="store_true")
    return parser.parse_args(argv)


def _fleet(options: argparse.Namespace) -> Fleet:
    chain = SimChain(options.chain_id, options.block_time, options.start_number, options.seed)
    chain.skip_every = options.skip_every
    tls = None
    if options.tls_certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.tls_certificate)
    ports = options.port + [0] * len(options.name)
    providers = [
        Provider(chain, name, latency_seconds=options.latency, port=port, tls=tls)
        for name, port in zip(options.name, ports, strict=False)
    ]
    return Fleet(providers, Ticker(chain))


async def _serve(options: argparse.Namespace) -> None:
    fleet = _fleet(options)
    await fleet.start(options.control_port)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if options.until_eof:
        await loop.connect_read_pipe(lambda: _Watch(ended), sys.stdin)
    hello: dict[str, Any] = {"control": fleet.control_url, "providers": fleet.urls()}
    sys.stdout.write(msgspec.json.encode(hello).decode() + "\n")
    sys.stdout.flush()
    await ended.wait()
    fleet.stop()


class _Watch(asyncio.Protocol):
    """Tells when the standard input has ended."""

    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def eof_received(self) -> None:
        self._ended.set()

    def connection_lost(self, _: Exception | None) -> None:
        self._ended.set()


if __name__ == "__main__":
    uvloop.run(_serve(_arguments(sys.argv[1:])))
