"""One proxy with keys in every place where a configuration can have them, before upstreams that repeat
them in all they say; what becomes of it under every fault, and everything that comes out of it.

    run = Run(directory)
    run.tell()
    run.evidence["log"]

State: what came out, in ``Evidence``, by surface.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
import yaml
from eth_account import Account

from rpcproxy.drills.scenarios.fault import Fault
from rpcproxy.drills.scenarios.faults import CATALOGUE
from rpcproxy.drills.scenarios.lies import LIARS
from tests.integration.echoing import CHAIN_ID, ECHOES, EchoingWorld, spellings
from tests.integration.evidence import Evidence, Pages, call
from tests.integration.running_proxy import NO_AUTHORITIES, ROOT, RunningProxy
from tests.kits.waiting import LIMIT_SECONDS, wait_until

CHAINS: Final = 8
NAMES: Final = [f"sim{index}" for index in range(CHAINS)]
QUESTIONS: Final = 2  # of each wallet, with a fault at two of three upstreams, and again at all
AT_A_TIME: Final = 24  # of one wallet
PAUSE_SECONDS: Final = 0.1  # between two requests of one wallet
RESTS: Final = 10  # so many pauses more while nobody waits for its requests
LONGEST_PAUSE_SECONDS: Final = 3.0  # after hang-ups
PATIENCE_SECONDS: Final = 1.5

# Keys as providers give them: hexadecimal, short, a token, and a password with every bad letter.
PATH: Final = "9aa3d95b3bc440fa88ea12eaa4456161"
QUERY: Final = "hQ7zk3Vw9p"
BEARER: Final = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ3YWxsZXQifQ.Zm9vYmFyLWJhei1xdXg_0-"
HEADER: Final = "Kx81-vT0q_LmNzw2Ry5B"
PASSWORD: Final = "hu&sh/w+rd=<9>?"
SOCKET: Final = "wsKEYabcdef0123456789wsKEY"
HOOK: Final = "T0HOOKsecret0123456789"
TRACES: Final = "otel-9f8e7d6c5b4a"
TOKEN: Final = "admin-Token-0123456789-xyz"
SECRETS: Final = (PATH, QUERY, BEARER, HEADER, PASSWORD, SOCKET, HOOK, TRACES, TOKEN)
OF_KIND: Final = {"a": (PATH, QUERY), "b": (BEARER, HEADER), "c": (PASSWORD,)}


def url_of(name: str, port: int) -> tuple[str, dict[str, str]]:
    kind = name[0]
    if kind == "a":
        return f"http://127.0.0.1:{port}/v3/{PATH}?apikey={QUERY}", {}
    if kind == "b":
        return f"http://127.0.0.1:{port}/rpc", {
            "Authorization": f"Bearer {BEARER}",
            "X-Api-Key": HEADER,
        }
    return f"http://wallet:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/", {}


def configuration(world: EchoingWorld, directory: Path, generation: int) -> str:
    """``generation`` gives upstreams names without a past."""
    chains = []
    for index in range(CHAINS):
        upstreams = []
        for kind, cloud in zip("abc", ("aws", "gcp", "azure"), strict=True):
            name = f"{kind}{index}"
            url, headers = url_of(name, world.providers[name].port)
            upstream: dict[str, Any] = {
                "name": f"{name}-g{generation}",
                "url": url,
                "provider": kind,
                "cloud": cloud,
                "headers": headers,
            }
            if kind == "a":
                upstream["ws_url"] = f"ws://127.0.0.1:{world.port}/ws/{SOCKET}"
            upstreams.append(upstream)
        chains.append(
            {
                "name": f"sim{index}",
                "chain_id": CHAIN_ID,
                "block_time": "1s",
                "probes": "2/s",
                "deadlines": {"light": "900ms", "heavy": "900ms", "send": "900ms"},
                "attempt_timeout": "300ms",
                "audit": "1000/h",
                "upstreams": upstreams,
            }
        )
    return yaml.safe_dump(
        {
            "server": {
                "listen": "127.0.0.1:0",
                "admin": "127.0.0.1:0",
                "admin_token": TOKEN,
                "status_page": "/how",
                "traces": f"http://127.0.0.1:{world.port}/{TRACES}",
                "cache": {"memory": "8MiB", "disk": "8MiB", "path": str(directory / "cache")},
                "history": str(directory / "history"),
                "journal": str(directory / "journal"),
            },
            "notify": [
                {"url": f"http://127.0.0.1:{world.port}/hooks/{HOOK}", "events": "all"},
            ],
            "chains": chains,
        },
        sort_keys=False,
    )


class Wallets:
    """Ask every chain again and again; what comes back is kept as it came. A context."""

    def __init__(self, url: str) -> None:
        self.bodies: list[str] = []
        self.headers: set[str] = set()
        self._url = url
        self._transactions = signed(40)
        self._asked = {f"/{name}": 0 for name in NAMES}
        self._wanted = dict(self._asked)
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask_all()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._thread.join()

    def wait_for_more(self, questions: int) -> None:
        """Every wallet has asked so many more, whatever became of them."""
        self._wanted = {path: count + questions for path, count in self._asked.items()}
        wait_until(lambda: not any(map(self._owes, self._asked)), "every wallet has asked")

    def _owes(self, path: str) -> bool:
        return self._asked[path] < self._wanted[path]

    async def _ask_all(self) -> None:
        limit = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        async with aiohttp.ClientSession(timeout=limit) as session:
            await asyncio.gather(*(self._ask(session, path) for path in self._asked))

    async def _ask(self, session: aiohttp.ClientSession, path: str) -> None:
        """One wallet does not wait for one answer before it asks for the next; but so many at a
        time are enough, and after each one that it gave up it waits twice as long, until it has an
        answer. Who hangs up leaves a connection in the port's queue until the proxy gets to it: at
        an even pace a slow machine would find nothing else in there.
        """
        asked: set[asyncio.Task[bool]] = set()
        pause_seconds = PAUSE_SECONDS

        def settle(task: asyncio.Task[bool]) -> None:
            nonlocal pause_seconds
            asked.discard(task)
            is_given_up = not task.cancelled() and not task.result()
            pause_seconds = pause_seconds * 2 if is_given_up else PAUSE_SECONDS
            pause_seconds = min(pause_seconds, LONGEST_PAUSE_SECONDS)

        while not self._has_ended.is_set():
            for body in self._questions():
                while len(asked) >= AT_A_TIME:
                    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.ensure_future(self.post(session, path, body))
                asked.add(task)
                self._asked[path] += 1
                task.add_done_callback(settle)
                await asyncio.sleep(pause_seconds)
                await self._rest(path)
        await asyncio.gather(*asked)

    async def _rest(self, path: str) -> None:
        """Until somebody waits for more, but no longer than a while: reloads meet wallets, too."""
        for _ in range(RESTS):
            if self._owes(path) or self._has_ended.is_set():
                return
            await asyncio.sleep(PAUSE_SECONDS)

    def _questions(self) -> Iterator[object]:
        account, place = "0x" + "ab" * 20, "latest"
        yield call("eth_getBalance", account, place)
        yield call("sim_unheardOf")
        yield [call("eth_gasPrice"), call("eth_getCode", account, place), call("sim_unheardOf")]
        yield call("eth_sendRawTransaction", next(self._transactions))
        yield call("eth_getLogs", {"fromBlock": "0x1", "toBlock": place})
        yield call("eth_getBlockByNumber", "0x10", False)

    async def post(self, session: aiohttp.ClientSession, path: str, body: object) -> bool:
        """Whether an answer came before the wallet lost its patience."""
        try:
            async with session.post(f"{self._url}{path}", json=body) as reply:
                self.headers.update(f"{name}: {value}" for name, value in reply.headers.items())
                self.bodies.append(await reply.text())
        except TimeoutError:
            return False
        except aiohttp.ClientError:
            pass
        return True


def signed(count: int) -> Iterator[str]:
    """Transactions without an end, the same ones after a while."""
    key = "0x" + "11" * 32
    wanted = {"to": "0x" + "22" * 20, "value": 1, "gas": 21000, "gasPrice": 7, "chainId": CHAIN_ID}
    made = [
        Account.sign_transaction({**wanted, "nonce": nonce}, key).raw_transaction.to_0x_hex()
        for nonce in range(count)
    ]
    return itertools.cycle(made)


class Run:
    """The whole story; ``evidence`` at its end."""

    def __init__(self, directory: Path) -> None:
        self.evidence = Evidence()
        self._directory = directory
        self._generation = 0
        self._lines_before = 0  # of the log, before the upstreams of this generation
        owners = {f"{k}{index}": OF_KIND[k] for index in range(CHAINS) for k in "abc"}
        self._world = EchoingWorld(owners, (SOCKET,))
        self._json_log = directory / "log.json"
        environment = {
            "LEAK_WORDS": self._crash_words(),
            "LEAK_JSON": str(self._json_log),
            "OTEL_BSP_SCHEDULE_DELAY": "300",
        }
        directory.mkdir(exist_ok=True)
        config = configuration(self._world, directory, 0)
        try:
            self._proxy = RunningProxy(
                config, directory / "proxy", environment, "tests.integration.leaking_proxy"
            )
        except BaseException:
            self._world.close()
            raise
        self._pages = Pages(self._proxy, self.evidence, TOKEN)
        self._wallets = Wallets(self._proxy.url)

    def _crash_words(self) -> str:
        urls = [url_of(name, p.port)[0] for name, p in self._world.providers.items()]
        plain = [spelling for secret in SECRETS for spelling in spellings(secret)]
        return " ".join([*urls[:3], *plain])

    def tell(self) -> None:
        try:
            self._pages.get("log level", "/log-level", body={"level": "debug"}, method="PUT")
            self._suffer()
            self._fail()
            self._commands_beside()
            self._end()
        finally:
            if self._proxy.is_running:
                self._proxy.kill()
            self._world.close()
        self._after()

    def _suffer(self) -> None:
        faults: list[Fault] = [*CATALOGUE.values(), *LIARS.values(), *ECHOES.values()]
        with self._wallets:
            for start in range(0, len(faults), CHAINS):
                now = dict(enumerate(faults[start : start + CHAINS]))
                self._wait_until_ready()
                for kinds in ("ab", "abc"):
                    self._world.set_faults(
                        {f"{kind}{index}": fault for index, fault in now.items() for kind in kinds}
                    )
                    self._wallets.wait_for_more(QUESTIONS)
                if start % (4 * CHAINS) == 0:
                    self._pages.visit(NAMES)
                self._refresh()

    def _refresh(self) -> None:
        """All well, and upstreams without a past."""
        self._world.set_faults(dict.fromkeys(self._world.providers))
        self._generation += 1
        self._lines_before = len(self._proxy.lines)
        self._proxy.write_config(configuration(self._world, self._directory, self._generation))
        self._proxy.hang_up()

    def _wait_until_ready(self) -> None:
        def is_ready() -> bool:
            page = Evidence()
            Pages(self._proxy, page, TOKEN).get("status", "/status")
            # After a lie about the chain the third one may need a while to be believed again.
            return all(
                sum(
                    each["state"] == "up" and each["name"].endswith(f"-g{self._generation}")
                    for each in chain["upstreams"]
                )
                >= 2
                for chain in json.loads(page["status"])["chains"]
            )

        admitted = re.compile(rf" readmitted .* upstream=(\w+-g{self._generation}) ")

        def are_admitted() -> bool:
            found = map(admitted.search, self._proxy.lines[self._lines_before :])
            return len({line[1] for line in found if line}) >= 2 * CHAINS

        # The whole status is dear: it is asked for once the log says that it may be so.
        wait_until(are_admitted, "upstreams without a past are admitted", pause_seconds=0.05)
        wait_until(is_ready, "upstreams without a past are up", pause_seconds=0.2)

    def _fail(self) -> None:
        """Faults of our own, and a configuration that is refused."""
        self._wait_until_ready()
        good = configuration(self._world, self._directory, self._generation)

        async def ask() -> None:
            async with aiohttp.ClientSession() as session:
                for method in ("leak_in_protocol", "leak_in_handler", "leak_everywhere"):
                    await self._wallets.post(session, "/sim0", call(method))

        asyncio.run(ask())
        for words in ("protocol", "handler", "thread", "finalizer", "task", "never retrieved"):
            self._proxy.wait_for_line(re.compile(f"RuntimeError: {words}"))
        self._proxy.wait_for_line(re.compile("RuntimeWarning: warning"))
        self._proxy.write_config(good.replace("http://127", "htp://127"))
        self._proxy.hang_up()
        self._proxy.wait_for_line(re.compile("configuration refused"))
        os.kill(self._proxy.pid, signal.SIGUSR1)
        self._proxy.wait_for_line(re.compile(r'^  File .* in run$|^  File ".*cli.py", line'))
        self._pages.visit(NAMES)
        self._proxy.write_config(good)
        for entry in ("cmdline", "comm"):
            self.evidence.take(
                "process table", Path(f"/proc/{self._proxy.pid}/{entry}").read_bytes()
            )
        for thread in Path(f"/proc/{self._proxy.pid}/task").iterdir():
            self.evidence.take("process table", (thread / "comm").read_bytes())

    def _commands_beside(self) -> None:
        """What operators run beside it, while two of three upstreams fail."""
        self._world.set_faults({"a0": ECHOES["mystery"], "b0": ECHOES["forbidden"]})
        few = yaml.safe_load(self._proxy.config_path.read_text())
        few["chains"] = few["chains"][:1]
        config = self._directory / "few.yaml"
        config.write_text(yaml.safe_dump(few))
        environment = {"RPCPROXY_ADMIN_TOKEN": TOKEN}
        running = {
            "check": start(("check", "-c", str(config), "--json"), {}),
            "top": start(("top", "--url", self._proxy.admin_url), environment),
        }
        top = running["top"].pid
        self.evidence.take("process table", Path(f"/proc/{top}/cmdline").read_bytes())
        for name, process in running.items():
            self.evidence.take(name, process.communicate(timeout=LIMIT_SECONDS)[0])

    def _end(self) -> None:
        self._proxy.ask_to_end()
        assert self._proxy.wait() == 1  # its last word is an exception

    def _after(self) -> None:
        take, heard = self.evidence.take, self._world.heard
        take("log", self._proxy.log)
        crashes = [line for line in self._proxy.lines if "Traceback" in line]
        take("crashes", "\n".join(crashes))
        take("stacks", "\n".join(line for line in self._proxy.lines if line.startswith("  File ")))
        take("log as JSON", self._json_log.read_bytes())
        take("answers to wallets", "\n".join(self._wallets.bodies))
        take("headers to wallets", "\n".join(self._wallets.headers))
        take("webhooks", b"\n".join(heard.webhooks))
        take("traces", b"\n".join(heard.traces))
        for surface in ("history", "journal", "cache"):
            files = [each for each in (self._directory / surface).rglob("*") if each.is_file()]
            for path in files:
                take(f"{surface} on disk", path.read_bytes())
        config = str(self._proxy.config_path)
        told = start(("report", "-c", config, "--json"), {})
        take("report", told.communicate(timeout=LIMIT_SECONDS)[0])


def start(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A command; both of its outputs as one."""
    return subprocess.Popen(
        [sys.executable, "-m", "rpcproxy", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **NO_AUTHORITIES, **environment},
    )
