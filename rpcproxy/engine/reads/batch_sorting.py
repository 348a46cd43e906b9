"""The members of a batch, sorted: answered at once, gathered for one upstream, or each its own way.

Light reads travel together; heavy ones, sends and what another asks already go singly. Look-ups
that may be of private transactions come last, where the same batch sends.

State: none; ``batches`` carries out what is found here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from rpcproxy.chains.method import MethodKind
from rpcproxy.clock import Clock
from rpcproxy.engine.answers.gathered import Gathered
from rpcproxy.engine.answers.sharing import SlowFlight, pending_answer
from rpcproxy.engine.attempts.calls import SingleCall
from rpcproxy.engine.attempts.request_log import OpenRequest
from rpcproxy.engine.attempts.tries import Tried
from rpcproxy.engine.reads.endings import OpenRead
from rpcproxy.engine.reads.profiles import Profile
from rpcproxy.engine.reads.reads import Reads
from rpcproxy.engine.reads.ways import ReadWay
from rpcproxy.engine.watch.local import LocalAnswers
from rpcproxy.messages import (
    Answer,
    Judgement,
    Malformed,
    MethodClass,
    Request,
    decode_request,
    encode_error,
    encode_result,
)
from rpcproxy.rules.standing.standings import Standing


class BatchMember(msgspec.Struct, gc=False):
    """A member that has to be forwarded within a batch; ``index`` is its place in the client's.

    ``due``: when it has to be answered, in monotonic seconds. ``earlier``: who was asked for it
    within a batch, and what came back, when that was no answer. ``asked``: how many calls each
    upstream had for it, that one apart. ``tried``: the attempts that were made for it.
    """

    index: int
    read: OpenRead
    due: float
    earlier: tuple[Standing, Judgement] | None = None
    asked: Mapping[str, int] | None = None
    tried: Sequence[Tried] = ()

    @property
    def request(self) -> Request:
        return self.read.request


class Single(msgspec.Struct, gc=False):
    """A member that goes its own way; ``index`` is its place. ``call`` is what is sent for a read,
    at the head that all members are asked at; ``shared`` the answer, where another is being asked
    the same; ``is_last``: it is asked after the sends of its batch.
    """

    index: int
    request: Request
    call: SingleCall | None = None
    shared: asyncio.Future[Answer] | None = None
    is_last: bool = False


class _Into(NamedTuple):
    """Where members are put; ``now`` is when they are sorted, in monotonic seconds."""

    replies: Gathered
    singles: list[Single]
    members: list[BatchMember]
    now: float


class BatchSorter:
    """See the module's docstring. One per chain. What is to be asked is put into ``singles`` and
    ``members``, what is answered into ``replies``.
    """

    def __init__(self, reads: Reads, local: LocalAnswers, *, clock: Clock) -> None:
        self._now = clock.monotonic
        self._local = local
        self._ways = reads.ways
        self._profiles = reads.profiles
        self._privacy, self._shown = reads.ledger.privacy, reads.ledger.shown
        self._sharing = reads.sharing
        self._counters = reads.counters
        self._log = reads.log

    def take(
        self,
        texts: Sequence[msgspec.Raw],
        start: int,
        replies: Gathered,
        singles: list[Single],
        members: list[BatchMember],
    ) -> None:
        """Answer what needs nobody else, and sort the rest; the first has place ``start``."""
        into = _Into(replies, singles, members, self._now())
        for index, text in enumerate(texts, start):
            try:
                request = decode_request(text)
            except Malformed as malformed:
                error = encode_error(malformed.id, malformed.code, malformed.reason)
                asked = OpenRequest(Request(""), replies.caller.trace_id, into.now)
                self._log.refused(asked, malformed.reason)
                replies.put_always(index, error)
                continue
            local = self._local.result(request.method)
            if local is None:
                self._sort(index, request, into)
            else:
                self._counters.on_local()
                reply = encode_result(request.id, local) if request.id else b""
                replies.put_always(index, reply)

    def _sort(self, index: int, request: Request, into: _Into) -> None:
        """Reads go their ways; of others, sends and what somebody waits for."""
        profile = self._profiles.of(request.method)
        if not (profile.is_read and request.id):
            if request.id or profile.method.kind is MethodKind.SEND:
                into.singles.append(Single(index, request))
        elif self._privacy.is_guarding and self._shown.looked_up(profile.method, request.params):
            into.replies.look_ups.append((index, request))
        else:
            self._sort_read(index, request, profile, into)

    def look_ups_last(
        self, replies: Gathered, singles: list[Single], members: list[BatchMember]
    ) -> None:
        """What the same batch sends may be for private upstreams alone, and is known as private
        only when it is sent: nobody is asked for a transaction before that.
        """
        has_sends = any(
            self._profiles.of(single.request.method).method.kind is MethodKind.SEND
            for single in singles
        )
        into = _Into(replies, singles, members, self._now())
        for index, request in replies.look_ups:
            if has_sends:
                singles.append(Single(index, request, is_last=True))
            else:
                self._sort_read(index, request, self._profiles.of(request.method), into)

    def _sort_read(self, index: int, request: Request, profile: Profile, into: _Into) -> None:
        """Light reads travel together; everything else goes its own way."""
        call = self._profiles.prepare(request, profile)
        if profile.method_class is not MethodClass.LIGHT or call.need.private_only:
            into.singles.append(Single(index, request, call))
            return
        replies, now = into.replies, into.now
        if replies.caller.is_fresh:
            call.key = b""
        way = self._ways.of(call, now)
        if way is ReadWay.ASKED:
            flight = SlowFlight()
            if call.key:
                self._sharing.flights[call.key] = flight
            read = OpenRead(request, profile, call, flight, now, replies.caller.trace_id)
            into.members.append(BatchMember(index, read, now + profile.policy.deadline_seconds))
        elif isinstance(way, bytes):
            self._counters.on_kept(profile.kept_by, MethodClass.LIGHT)
            replies.put_result(index, request, way)
            replies.kept.append((index, request))
        elif isinstance(way, ReadWay):
            into.singles.append(Single(index, request, call))
        else:
            follower = self._sharing.follow(way, request, replies.caller.trace_id, now)
            into.singles.append(Single(index, request, shared=pending_answer(follower)))
