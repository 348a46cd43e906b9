"""Outcome → judgement: what an upstream's answer means, and whose fault it is.

The order: no HTTP reply; HTTP statuses that decide whatever the body says (3xx, 401, 402, 403,
405, 413, 415, 429), unless a code says that a contract spoke, or nodes of that kind answer errors
under any status; a readable JSON-RPC reply, whatever the status (gateways send reverts as 400 and
500); what is left is the upstream's fault. The user's own phrases come before the kind's table.
Whatever matches nothing is ``UNKNOWN``: another upstream is asked, and ``refusals`` says whose
fault a well-formed error was.

Where a reply holds both a result and an error, the error wins: nodes that stream a result and
fail in the middle of it (Erigon's traces) end it with an error, so the result may be partial.

Pure, and without state that changes: there is a ``Classifier`` for each upstream because the
phrases are configured for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from rpcproxy.chains.method import Method
from rpcproxy.chains.parts.errors import CALLS, READS, ErrorTable, scope
from rpcproxy.config.model import ErrorPhrase
from rpcproxy.messages import (
    INVALID_REQUEST,
    PARSE_ERROR,
    Failure,
    Judgement,
    Outcome,
    Reply,
    Verdict,
)
from rpcproxy.rules.answers import hints, replies
from rpcproxy.rules.answers.batched import BatchJudgement, SentCall, all_alike, on_the_whole
from rpcproxy.rules.answers.failures import judge_failure
from rpcproxy.rules.answers.replies import NULL, UNREADABLE, ErrorText, Read

_LIMITS: Final = (Verdict.RATE_LIMITED, Verdict.QUOTA)
# What an upstream refuses, it refuses whatever id it wrote beside it.
_REGARDLESS_OF_ID: Final = (*_LIMITS, Verdict.KEY_REFUSED, Verdict.SENDER_LIMITED)
_TOO_MANY: Final = 429
_PAYMENT: Final = 402
# What these say of us no result beside them takes back.
_OF_ACCESS: Final = frozenset((401, 403, _TOO_MANY))

_decode_read = replies.decode_read


class Classifier:
    """Judges the outcomes of one upstream.

    ``errors`` is the table of its kind of chain. ``phrases`` are the user's own, for what the table
    does not know; ``redact`` goes over what is shown. Raises ``ValueError`` for a phrase whose
    verdict does not exist, or is ``ok``.
    """

    def __init__(
        self,
        errors: ErrorTable,
        phrases: Sequence[ErrorPhrase] = (),
        redact: replies.Redact = str,
    ) -> None:
        labels = {verdict.label: verdict for verdict in Verdict if verdict is not Verdict.OK}
        for phrase in phrases:
            if phrase.verdict not in labels:
                raise ValueError(f"no error is of the class {phrase.verdict!r}")
        self._phrases = tuple((p.contains.lower(), labels[p.verdict]) for p in phrases)
        self._table = errors
        self._redact = redact  # before words are cut: nobody knows half a key
        self._read_error = partial(replies.read_error, redact=redact, encoded=errors.encoded)

    def judge(
        self,
        outcome: Outcome,
        id: int,
        method: Method,
        now_unix: float,
        params: bytes | msgspec.Raw = b"",
    ) -> Judgement:
        """What the outcome of one call means. Never raises, whatever the bytes.

        ``id`` and ``params`` are those we sent; the params are looked at where an error's words
        mean one thing or another by them. ``now_unix`` (seconds) is read where an upstream names
        a date.
        """
        if isinstance(outcome, Failure):
            return judge_failure(outcome)
        result = plain_result(outcome, id, method)
        if result is not None:
            return Judgement(Verdict.OK, result)
        return self._judge_reply(outcome, SentCall(id, method, params), now_unix)

    def judge_batch(
        self, outcome: Outcome, calls: Sequence[SentCall], now_unix: float
    ) -> BatchJudgement:
        """What the outcome of several calls sent as one array means, for each and on the whole.

        Never raises. Replies may come in any order; a member without a reply of its own is the
        upstream's fault and no other member's.
        """
        if isinstance(outcome, Failure):
            return all_alike(judge_failure(outcome), calls)
        decided = self._by_status(outcome, READS, now_unix)
        if decided is not None:
            if decided.verdict is Verdict.UNSUPPORTED:  # says nothing of the methods inside
                decided.verdict = Verdict.BATCH_REFUSED
            return all_alike(decided, calls)
        if outcome.rest is not None:
            # Sent singly, each answer can be streamed; members of an array cannot be told apart.
            return all_alike(
                Judgement(Verdict.BATCH_REFUSED, detail="answer too large to take apart"), calls
            )
        members = replies.read_members(outcome.body)
        if members is None:
            single = replies.read_reply(outcome.body)
            if single is None or not single.is_rpc:
                return all_alike(self._judge_page(outcome, now_unix), calls)
            if single.is_error and replies.own_id(single.id) not in {c.id for c in calls[1:]}:
                return self._judge_refusal(single.error, outcome, calls, now_unix)
            members = [single]
        return self._judge_members(members, outcome, calls, now_unix)

    def _judge_reply(self, reply: Reply, asked: SentCall, now_unix: float) -> Judgement:
        decided = self._by_status(reply, scope(asked.method), now_unix)
        if decided is not None:
            return decided
        if reply.rest is not None:
            verdict = Verdict.UNKNOWN
            if reply.status == 200:
                verdict = replies.begins_as_success(reply.body, asked.id)
            if verdict is Verdict.UNKNOWN:
                return self._judge_page(reply, now_unix)
            return Judgement(verdict)
        read = replies.read_reply(reply.body)
        if read is None or not read.is_rpc:
            return self._judge_page(reply, now_unix)
        return self._judge_read(read, reply, asked, now_unix)

    def _judge_read(self, read: Read, reply: Reply, asked: SentCall, now_unix: float) -> Judgement:
        is_own = replies.own_id(read.id) == asked.id
        if not read.is_error:
            return _judge_result(read.result, asked.method) if is_own else _wrong_id()
        judgement = self._judge_error(self._read_error(read.error), reply, asked, now_unix)
        # A null id is right for an error alone: the upstream could not read the request.
        if is_own or read.id is None or judgement.verdict in _REGARDLESS_OF_ID:
            return judgement
        return _wrong_id()

    def _judge_error(
        self, error: ErrorText, reply: Reply, asked: SentCall, now_unix: float
    ) -> Judgement:
        method = asked.method
        verdict = self._phrase(error.text)
        if verdict is None:
            verdict = self._table.verdict(error.code, error.text, scope(method), asked.params)
        if verdict is Verdict.NULL:
            if method.null_is_data:
                return Judgement(Verdict.NULL, NULL, detail=error.detail)
            verdict = Verdict.MISSING_DATA
        cooldown_seconds = hints.cooldown(verdict, reply, error.text, error.data, now_unix)
        return Judgement(
            verdict,
            error=error.json,
            cooldown_seconds=cooldown_seconds,
            detail=error.detail,
            by_code=cooldown_seconds is None and self._is_by_code(verdict, error, method),
        )

    def _is_by_code(self, verdict: Verdict, error: ErrorText, method: Method) -> bool:
        """Whether only the number says that it is a limit. The same numbers stand for methods
        that are switched off and for caps; 429 means one thing.
        """
        if verdict not in _LIMITS or error.code == _TOO_MANY or self._phrase(error.text):
            return False
        return self._table.verdict(None, error.text, scope(method)) is not verdict

    def _by_status(self, reply: Reply, on: int, now_unix: float) -> Judgement | None:
        """The judgement of a status that decides whatever the body says, else ``None``."""
        status = reply.status
        if status == 200:
            return None
        is_redirect = 300 <= status < 400
        verdict = self._table.statuses.get(status)
        if verdict is None and not is_redirect:
            return None
        if self._table.is_body_first and self._is_outranked(reply, on):
            return None
        if verdict is None or is_redirect:
            return Judgement(Verdict.SERVER_ERROR, detail=f"redirect (HTTP {status})")
        read = replies.read_reply(reply.body)
        error = self._read_error(read.error) if read is not None and read.is_error else None
        if error is not None and self._table.is_spoken(error.code, on):
            return None
        text = replies.page_text(reply.body) if error is None else error.text
        phrase = self._phrase(text)
        if phrase is not None:
            verdict = _of_a_page(phrase)
        else:
            named = self._page_hint(text)
            if error is not None:
                named = self._table.verdict(error.code, text, on)
            if named in self._table.status_hints.get(status, ()):
                verdict = named or verdict
        said = hints.tell(self._redact(text)) if error is None else error.detail
        # "Payment required" is what the status is called: a plan may lack this request alone.
        words = text.replace("payment required", "")
        is_quota = self._table.verdict(None, words, on) is Verdict.QUOTA
        return Judgement(
            verdict,
            error=None if error is None else error.json,
            cooldown_seconds=hints.cooldown(
                verdict, reply, text, None if error is None else error.data, now_unix
            ),
            detail=f"HTTP {status}: {said}"[: hints.DETAIL_CHARACTERS],
            by_code=status == _PAYMENT and verdict is Verdict.QUOTA and not is_quota,
        )

    def _is_outranked(self, reply: Reply, on: int) -> bool:
        """Whether the body says more than its status: an error whose words are known, or a result
        under a status that says nothing of our rights.
        """
        single = replies.read_reply(reply.body)
        members = replies.read_members(reply.body) or () if single is None else (single,)
        if any(read.is_error for read in members):
            errors = (self._read_error(read.error) for read in members if read.is_error)
            return any(self._is_known(error, on) for error in errors)
        return reply.status not in _OF_ACCESS and any(read.is_rpc for read in members)

    def _is_known(self, error: ErrorText, on: int) -> bool:
        if self._phrase(error.text) is not None:
            return True
        return self._table.verdict(error.code, error.text, on) is not Verdict.UNKNOWN

    def _judge_page(self, reply: Reply, now_unix: float) -> Judgement:
        """A body that is no JSON-RPC reply, under a status that does not decide."""
        status, body = reply.status, reply.body
        text = replies.page_text(body)
        named = self._phrase(text) or self._page_hint(text)
        if named is not None:
            verdict = _of_a_page(named)
        elif status >= 500 or status == 408:
            verdict = Verdict.SERVER_ERROR
        elif not body.strip():
            verdict = Verdict.EMPTY
        elif status == 200 and reply.rest is None:
            verdict = replies.unread(body)
        else:
            verdict = Verdict.UNKNOWN
        said = hints.tell(self._redact(text)) or "empty body"
        return Judgement(
            verdict,
            cooldown_seconds=hints.cooldown(verdict, reply, text, None, now_unix),
            detail=f"HTTP {status}: {said}"[: hints.DETAIL_CHARACTERS],
        )

    def _phrase(self, text: str) -> Verdict | None:
        return _first(self._phrases, text)

    def _page_hint(self, text: str) -> Verdict | None:
        return _first(self._table.page_hints, text)

    def _judge_refusal(
        self,
        raw: msgspec.Raw,
        reply: Reply,
        calls: Sequence[SentCall],
        now_unix: float,
    ) -> BatchJudgement:
        """One error object in reply to a batch: an error for each member."""
        error = self._read_error(raw)
        if self._is_batch_refusal(error):
            return all_alike(
                Judgement(Verdict.BATCH_REFUSED, error=error.json, detail=error.detail), calls
            )
        members = [self._judge_error(error, reply, asked, now_unix) for asked in calls]
        for member in members:
            # The array as we sent it was valid, so this upstream does not read arrays.
            if error.code in (INVALID_REQUEST, PARSE_ERROR) and member.verdict in (
                Verdict.INVALID_PARAMS,
                Verdict.UNKNOWN,
            ):
                member.verdict = Verdict.BATCH_REFUSED
        return on_the_whole(members)

    def _is_batch_refusal(self, error: ErrorText) -> bool:
        if self._phrase(error.text) is not None:
            return False
        if error.code in self._table.batch_codes:
            return True
        if self._table.verdict(error.code, error.text, CALLS) is Verdict.REVERTED:
            return False  # a contract's words, whatever batch they speak of
        if any(fragment in error.text for fragment in self._table.batch_fragments):
            return True
        return "batch" in error.text and (
            self._table.verdict(error.code, error.text, READS) not in _LIMITS
        )

    def _judge_members(
        self,
        members: Sequence[Read],
        reply: Reply,
        calls: Sequence[SentCall],
        now_unix: float,
    ) -> BatchJudgement:
        by_id: dict[int, list[Read]] = {asked.id: [] for asked in calls}
        nameless: ErrorText | None = None
        has_strangers = False
        for read in members:
            told = replies.own_id(read.id)
            if told is not None and told in by_id:
                by_id[told].append(read)
            elif read.id is None and read.is_error:
                nameless = nameless or self._read_error(read.error)
            else:
                has_strangers = True
        is_refused = not all(by_id.values()) and self._has_batch_refusal(members)
        judged = []
        for asked in calls:
            own = by_id[asked.id]
            if is_refused and (not own or own[0].is_error):
                # geth answers a batch too large with an array of one error, under the first id.
                judged.append(Judgement(Verdict.BATCH_REFUSED, detail="batch refused"))
            elif len(own) == 1:
                judged.append(self._judge_read(own[0], reply, asked, now_unix))
            elif own:
                judged.append(Judgement(Verdict.WRONG_ID, detail="two replies with one id"))
            elif nameless is not None:
                judged.append(self._judge_error(nameless, reply, asked, now_unix))
            elif has_strangers:
                judged.append(_wrong_id())
            else:
                judged.append(Judgement(Verdict.BAD_RESULT, detail="no reply to this member"))
        return on_the_whole(judged)

    def _has_batch_refusal(self, members: Sequence[Read]) -> bool:
        return any(
            self._is_batch_refusal(self._read_error(read.error))
            for read in members
            if read.is_error
        )


def plain_result(outcome: Outcome, id: int, method: Method) -> msgspec.Raw | None:
    """The result of a small success, the common case, in as few steps as can be; ``None`` where
    more has to be looked at. It is ASCII alone.
    """
    if outcome.__class__ is not Reply or outcome.status != 200 or outcome.rest is not None:
        return None
    try:
        read = _decode_read(outcome.body)
    except UNREADABLE:
        return None
    result, error = read.result, read.error
    if (
        read.id == id
        and result
        and (not error or error == NULL)
        and method.shape.match(result)
        and outcome.body.isascii()
    ):
        return result
    return None


def _first(phrases: Sequence[tuple[str, Verdict]], text: str) -> Verdict | None:
    return next((verdict for contains, verdict in phrases if contains in text), None)


def _of_a_page(verdict: Verdict) -> Verdict:
    """A page is no null to be given to a client, even where the user's phrase says so."""
    return Verdict.MISSING_DATA if verdict is Verdict.NULL else verdict


def _judge_result(result: msgspec.Raw, method: Method) -> Judgement:
    if method.shape.match(result):
        if not replies.is_text(result):
            return Judgement(Verdict.NOT_JSON, detail="the result is not UTF-8")
        return Judgement(Verdict.OK, result)
    if result != NULL:
        return Judgement(Verdict.BAD_RESULT, detail=f"no answer to {method.name}")
    if method.null_is_lag:
        return Judgement(Verdict.MISSING_DATA, NULL, detail="no such block here")
    if method.null_is_data:
        return Judgement(Verdict.NULL if method.confirm_null else Verdict.OK, NULL)
    return Judgement(Verdict.BAD_RESULT, detail=f"null in answer to {method.name}")


def _wrong_id() -> Judgement:
    return Judgement(Verdict.WRONG_ID, detail="reply with another id")
