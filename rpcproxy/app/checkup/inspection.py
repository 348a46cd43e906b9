"""Asks one upstream what wallets will ask of it, and tells what it can do, in plain values.

Serving begins with the chain id, so that comes first; whoever fails there is asked no more. No
URL, key or header is in what comes out: an upstream's own words are redacted, here and by who shows
them.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from rpcproxy.app.checkup.asking import MOST_REPEATS, Asker, AskSettings
from rpcproxy.chains.kind import Ability, Announcements, Survey
from rpcproxy.chains.known import name_of
from rpcproxy.chains.parts.inquiries import Question, T
from rpcproxy.chains.registry import kind_of
from rpcproxy.config.model import Chain, Upstream
from rpcproxy.config.outbound import shown, ws_proxy_of
from rpcproxy.edges.http.names import look_up
from rpcproxy.edges.http.target import Target, read_origin
from rpcproxy.edges.ws.newheads import FeedSettings, HeadFeed
from rpcproxy.engine import tasks
from rpcproxy.messages import Blame, Head, Judgement, Verdict
from rpcproxy.rules.answers.hints import tell
from rpcproxy.rules.answers.outage import in_words
from rpcproxy.rules.telling import survey
from rpcproxy.rules.telling.survey import SeenHead

LATENCY_QUESTIONS: Final = 5
LATENCY_SECONDS: Final = 4.0  # one that is slow is not asked five times
BATCH_CALLS: Final = 3
# Chain id, newest block, genesis, client version, multicall, logs, subscription; and the others.
MOST_CALLS: Final = 7 + LATENCY_QUESTIONS + BATCH_CALLS + survey.HISTORY_STEPS + MOST_REPEATS

_GOOD: Final = (Verdict.OK, Verdict.NULL)

FindingState = Literal["yes", "no", "unknown"]
OnStep = Callable[[str], None]


class CheckFinding(msgspec.Struct, frozen=True):
    """One thing that was asked: ``unknown`` where it was not, or could not be found out."""

    state: FindingState
    words: str


class Inspection(msgspec.Struct, kw_only=True):
    """What was found of one upstream. ``trouble`` says why it cannot be used; ``calls`` and
    ``seconds`` what asking took; ``addresses`` are texts of IP addresses, ``port`` theirs.
    """

    name: str
    state: Literal["usable", "unusable", "wrong_chain"] = "unusable"
    trouble: str = "not asked"
    identity: str | None = msgspec.field(default=None, name="chain_id")
    genesis: CheckFinding | None = None
    head: int | None = None
    head_hash: str = ""
    head_seconds: int = 0  # the block's own time, Unix
    lag: int | None = None
    latency_seconds: float | None = None
    client_version: str = ""
    websocket: CheckFinding | None = None
    history: CheckFinding | None = None
    history_blocks: int | None = None  # how far back state was there
    is_archive: bool = False
    logs: CheckFinding | None = None
    multicall: CheckFinding | None = None
    batch: CheckFinding | None = None
    addresses: tuple[str, ...] = ()
    port: int = 0
    calls: int = 0
    seconds: float = 0.0
    seen: list[SeenHead] = []

    @property
    def is_usable(self) -> bool:
        return self.state == "usable"

    def be_on_another_chain(self) -> None:
        """By its genesis block."""
        words = "" if self.genesis is None else self.genesis.words
        self.state = "wrong_chain"
        self.trouble = f"has the right chain id and another genesis block ({words})"


async def inspect(
    chain: Chain,
    upstream: Upstream,
    settings: AskSettings,
    on_step: OnStep = lambda _: None,
) -> Inspection:
    """Ask it everything, within ``settings.total_seconds``. Raises nothing but cancellation.
    ``on_step`` is told in a word or two what is asked next.
    """
    found = Inspection(name=upstream.name)
    now = settings.clock.monotonic
    started = now()
    try:
        asker = Asker(upstream, settings, kind_of(chain).errors)
    except ValueError as error:
        found.trouble = str(error)
        return found
    work = _Work(chain, upstream, settings, asker, found)
    try:
        async with asyncio.timeout(settings.total_seconds):
            await work.run(on_step)
    except TimeoutError:
        if found.state == "unusable" and not found.trouble:
            found.trouble = f"no answer in {settings.total_seconds:g} s"
    finally:
        await work.close()
        found.calls = asker.calls + work.subscriptions
        found.seconds = now() - started
    return found


class _Work:
    """One upstream's inspection under way. State: ``found``, filled as it goes on."""

    def __init__(
        self,
        chain: Chain,
        upstream: Upstream,
        settings: AskSettings,
        asker: Asker,
        found: Inspection,
    ) -> None:
        self._now = settings.clock.monotonic
        self._chain = chain
        self._kind = kind_of(chain)
        self._upstream = upstream
        self._settings = settings
        self._asker = asker
        self._found = found
        self._resolving: asyncio.Task[None] | None = None
        self._subscribing: asyncio.Task[None] | None = None
        self.subscriptions = 0

    async def run(self, on_step: OnStep) -> None:
        found, survey = self._found, self._kind.survey
        found.trouble = ""
        on_step("chain id")
        if not await self._is_right_chain():
            return
        self._resolving = tasks.start(self._resolve(), f"addresses of {found.name}")
        if self._upstream.role == "sends":
            found.state = "usable"
            if survey is not None:
                on_step("latency")
                await self._measure(survey.ping)
        else:
            await self._read(on_step)
        if found.is_usable and survey is not None and survey.version is not None:
            on_step("client version")
            await self._ask_version(survey.version)
        await self._resolving
        if self._subscribing is not None:
            on_step("WebSocket")
            await self._subscribing

    async def close(self) -> None:
        await tasks.stop(self._resolving, self._subscribing)
        await self._asker.close()

    async def _read(self, on_step: OnStep) -> None:
        """What is asked of those that serve reads."""
        found = self._found
        on_step("newest block")
        head = await self._ask_head()
        if head is None:
            return
        if self._chain.genesis_hash is not None:
            on_step("genesis")
            if not await self._is_right_genesis(self._chain.genesis_hash):
                return
        found.state = "usable"
        not_asked = CheckFinding(
            "unknown", f"not asked: {self._settings.total_seconds:g} s were over"
        )
        announcements = self._kind.announcements
        if self._upstream.ws_url is not None and announcements is not None:
            found.websocket = not_asked
            self._subscribing = tasks.start(
                self._subscribe(self._upstream.ws_url, announcements),
                f"subscription at {found.name}",
            )
        if self._kind.survey is not None:
            await self._survey(self._kind.survey, head.number, not_asked, on_step)

    async def _survey(
        self, asked: Survey, head: int, not_asked: CheckFinding, on_step: OnStep
    ) -> None:
        """What it can do, as far as there is a question for it."""
        found = self._found
        found.multicall = not_asked if asked.large is not None else None
        found.batch = not_asked if asked.batch else None
        found.logs = not_asked if asked.search is not None else None
        found.history = not_asked if asked.state is not None else None
        on_step("latency")
        await self._measure(
            asked.number, lambda number: found.seen.append(SeenHead(number, self._now()))
        )
        if asked.large is not None:
            on_step("multicall")
            found.multicall = await self._can(asked.large, head)
        if asked.batch:
            on_step("batch")
            found.batch = await self._ask_batch(asked.batch[:BATCH_CALLS])
        if asked.search is not None:
            on_step("logs")
            found.logs = await self._can(asked.search, head)
        if asked.state is not None:
            on_step("history")
            found.history = await self._find_history(asked.state, head)

    async def _can(self, ability: Ability, head: int) -> CheckFinding:
        return _of(await self._asker.ask(ability.question(head)))

    # ---- who it is

    async def _is_right_chain(self) -> bool:
        asked = await self._asker.inquire(self._kind.questions.identity(), is_vital=True)
        judgement, identity = asked.judgement, asked.value
        if judgement.verdict is not Verdict.OK:
            self._found.trouble = in_words(judgement)
            if judgement.verdict is Verdict.WRONG_CHAIN:
                self._found.state = "wrong_chain"
            return False
        if identity is None:
            self._found.trouble = f"answers {asked.method} with something that is no number"
            return False
        self._found.identity = identity
        if identity != self._chain.identity:
            name = name_of(self._chain.kind, identity)
            known_as = f" ({name})" if name else ""
            self._found.state = "wrong_chain"
            self._found.trouble = (
                f"is on chain {identity}{known_as}; configured is {self._chain.identity}"
            )
            return False
        return True

    async def _is_right_genesis(self, wanted: str) -> bool:
        if self._kind.questions.genesis is None:
            return True
        asked = await self._asker.inquire(self._kind.questions.genesis())
        if asked.value is None:
            words = f"block 0 is not told: {in_words(asked.judgement)}"
            self._found.genesis = CheckFinding("unknown", words)
            return True
        told = asked.value.hash
        if told.lower() == wanted.lower():
            self._found.genesis = CheckFinding("yes", "as configured")
            return True
        words = f"another one: {told}, expected {wanted}"
        self._found.genesis = CheckFinding("no", words)
        if self._chain.genesis_guessed:
            return True  # the others' decide whether the list that it is from errs
        self._found.be_on_another_chain()
        return False

    async def _ask_head(self) -> Head | None:
        asked = await self._asker.inquire(self._kind.questions.head(), is_vital=True)
        judgement, head = asked.judgement, asked.value
        if judgement.verdict is not Verdict.OK:
            self._found.trouble = f"cannot tell its newest block: {in_words(judgement)}"
        elif head is None:
            self._found.trouble = "answers with something that is no block"
        else:
            self._found.head, self._found.head_hash = head.number, head.hash
            self._found.head_seconds = head.timestamp
            self._found.seen.append(SeenHead(head.number, self._now()))
            return head
        return None

    async def _ask_version(self, question: Question[str]) -> None:
        version = await self._asker.read(question)
        self._found.client_version = tell(self._asker.redact(version or ""))

    async def _resolve(self) -> None:
        """Its addresses; nothing is asked of the upstream itself."""
        origin = read_origin(Target(self._upstream.name, self._upstream.url))
        self._found.port = origin.port
        if shown(self._upstream.proxy):
            return  # whose name it is, the outbound proxy knows; here nobody may
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(None, look_up, origin.host, origin.port)
        except (OSError, UnicodeError):
            found = []
        self._found.addresses = tuple(sorted({str(address.sockaddr[0]) for address in found}))

    # ---- what it can do

    async def _measure(
        self, question: Question[T], on_answer: Callable[[T], object] = lambda _: None
    ) -> None:
        """The median of several small questions over a warm connection. ``on_answer`` is told what
        each answer says.
        """
        seconds: list[float] = []
        until = self._now() + LATENCY_SECONDS
        for _ in range(LATENCY_QUESTIONS):
            answer = await self._asker.read(question)
            if answer is not None:
                seconds.append(self._asker.seconds)
                on_answer(answer)
            if self._now() >= until:
                break
        if seconds:
            self._found.latency_seconds = statistics.median(seconds)

    async def _ask_batch(self, questions: Sequence[Question[Any]]) -> CheckFinding:
        judged = await self._asker.ask_batch(questions)
        if judged.verdict is Verdict.OK:
            return CheckFinding("yes", f"{len(questions)} calls in one")
        return _of(Judgement(judged.verdict, detail=judged.detail))

    async def _find_history(
        self, state: Callable[[int], Question[object]], head: int
    ) -> CheckFinding:
        served, missed, steps = 0, None, 0
        deepest = head - 1
        last: Judgement | None = None
        while (depth := survey.next_depth(served, missed, deepest, steps)) is not None:
            steps += 1
            judgement = await self._asker.ask(state(head - depth))
            if judgement.verdict in _GOOD:
                served = depth
            elif judgement.verdict.blame in (Blame.LIMIT, Blame.UPSTREAM) and (
                judgement.verdict is not Verdict.UNKNOWN
            ):
                # Says nothing of what it has.
                words = in_words(judgement)
                reach = f"at least {served:,} blocks back; then " if served else ""
                return CheckFinding("unknown", reach + words)
            else:
                missed, last = depth, judgement
        self._found.history_blocks = served
        self._found.is_archive = missed is None and served > 0
        words = survey.reach_words(served, missed, deepest)
        if last is not None and last.verdict is not Verdict.MISSING_DATA:
            words += f": {in_words(last)}"
        return CheckFinding("yes" if served or deepest <= 0 else "no", words)

    async def _subscribe(self, url: str, announcements: Announcements) -> None:
        """Whether a subscription to new heads is answered."""
        settings = self._settings
        answered: asyncio.Future[tuple[bool, str]] = asyncio.get_running_loop().create_future()

        def on_state(is_live: bool, reason: str) -> None:  # noqa: FBT001 -- the feed's signature
            if not answered.done():
                answered.set_result((is_live, reason))

        feed = HeadFeed(
            self._upstream.name,
            url,
            self._upstream.headers,
            FeedSettings(
                self._chain.block_time_seconds,
                announcements,
                ssl_context=settings.ssl_context,
                upgrade_seconds=settings.question_seconds,
                answer_seconds=settings.question_seconds,
                proxy=ws_proxy_of(self._upstream),
            ),
            lambda _head, _text: None,
            on_state,
        )
        self.subscriptions = 1
        feed.start()
        try:
            is_live, reason = await answered
        finally:
            await feed.close()
        # What the feed says of its next try is nothing for a check.
        words = (
            f"{announcements.title} subscribed" if is_live else reason.partition("; tried again")[0]
        )
        self._found.websocket = CheckFinding("yes" if is_live else "no", words)


def _of(judgement: Judgement) -> CheckFinding:
    """A revert, and an empty answer, are answers: it took the question."""
    if judgement.verdict in (*_GOOD, Verdict.REVERTED):
        return CheckFinding("yes", "answered")
    if judgement.verdict.blame is Blame.LIMIT:
        return CheckFinding("unknown", in_words(judgement))
    return CheckFinding("no", in_words(judgement))
