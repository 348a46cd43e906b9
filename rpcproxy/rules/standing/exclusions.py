"""What an upstream said that it cannot do: methods, sizes, batches, wide ranges. Never a matter of
health.

All of it is forgotten after a while, since plans and versions change.
State: one object per upstream, written by ``Standings`` alone.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

METHOD_SECONDS: Final = 300.0
SIZE_SECONDS: Final = 600.0
BATCH_SECONDS: Final = 600.0
RANGE_SECONDS: Final = 600.0
# Refused once, a shape of params is watched for so long: a second refusal excludes it, unless
# requests of that shape were taken in between.
SUSPECT_SECONDS: Final = 60.0
# Between rate limits of one method that are taken for the method's own.
SHORTEST_LIMIT_SECONDS: Final = 2.0
LONGEST_LIMIT_SECONDS: Final = 60.0
# Method names come from clients: without a bound they would fill the memory, and the names that
# somebody makes up would push out those that upstreams were really found to lack.
MAX_METHODS: Final = 256
MAX_INVENTED: Final = 64
# So often people are told of names that are in no table of ours, however many there are.
INVENTED_SECONDS: Final = 3600.0
MAX_SHAPES: Final = 128


class Exclusions:
    """``methods``: name → until when, in monotonic seconds. ``refused_bytes`` is the smallest
    request it refused as too large, 0 for none; ``took_bytes`` the largest that it took.
    ``refused_blocks`` and ``took_blocks`` are the same of ranges; they are asked about only for
    requests that have one, so the truth of the whole leaves them out.
    ``shapes``: shape of params (``chains.parts.param_shapes``) → until when; ``listens``: an answer
    of some method may take something back. ``limited``: method → until when it is left alone, since
    its limit is reached and that of others is not.
    """

    __slots__ = (
        "_invented",
        "_invented_told_at",
        "_limited_at",
        "_range_until",
        "_size_until",
        "_suspected",
        "batch_until",
        "invented_untold",
        "limited",
        "listens",
        "methods",
        "refused_blocks",
        "refused_bytes",
        "shapes",
        "took_blocks",
        "took_bytes",
    )

    def __init__(self) -> None:
        self.methods: dict[str, float] = {}
        self.shapes: dict[str, float] = {}
        self._suspected: dict[str, float] = {}
        self.limited: dict[str, float] = {}
        self._limited_at: dict[str, float] = {}
        self.listens = False
        self._invented: deque[str] = deque()  # of ``methods``
        self._invented_told_at = -math.inf
        self.invented_untold = 0
        self.refused_bytes = 0
        self._size_until = 0.0
        self.took_bytes = 0
        self.batch_until = 0.0
        self.refused_blocks = 0
        self.took_blocks = 0
        self._range_until = 0.0

    def __bool__(self) -> bool:
        is_of_methods = self.methods or self.shapes or self.limited
        return bool(is_of_methods or self.refused_bytes or self.batch_until)

    def refuses_size(self, request_bytes: int, now: float, *, is_batch: bool) -> bool:
        """Whether it lately refused a request of that size, or batches."""
        if is_batch and self.batch_until > now:
            return True
        return 0 < self.refused_bytes <= request_bytes and now < self._size_until

    def refuses_shape(self, shape: str, now: float) -> bool:
        """Whether it lately refused requests of that shape, which others took."""
        return bool(shape) and self.shapes.get(shape, 0.0) > now

    def refuses(self, method: str, request_bytes: int, now: float, *, is_batch: bool) -> bool:
        return (
            self.methods.get(method, 0.0) > now
            or self.is_limited(method, now)
            or self.refuses_size(request_bytes, now, is_batch=is_batch)
        )

    def is_limited(self, method: str, now: float) -> bool:
        """Whether this method's own rate limit is reached."""
        return self.limited.get(method, 0.0) > now

    def awaits(self, method: str, shape: str) -> bool:
        """Whether an answer of this method and shape would take something back."""
        about = (self.methods, self.shapes, self._suspected, self._limited_at, self.limited)
        return any(method in known or shape in known for known in about)

    def refuses_range(self, blocks: int, now: float) -> bool:
        """Whether it lately refused a range that wide."""
        return 0 < self.refused_blocks <= blocks and now < self._range_until

    def widest_range(self, now: float) -> int | None:
        """The widest range it is thought to take, ``None`` where no limit is known."""
        if not self.refused_blocks or now >= self._range_until:
            return None
        return self.refused_blocks - 1

    def on_unsupported(self, method: str, now: float, *, is_known: bool = True) -> bool:
        """It lacks the method; whether that is news worth telling. ``is_known``: the name is in a
        table of ours. Of all others together it is news once in a long time, and
        ``invented_untold`` is how many there were since.
        """
        if not method:
            return False
        is_news = self.methods.pop(method, None) is None
        if not is_known:
            is_news = is_news and self._count_invented(method, now)
        while len(self.methods) >= MAX_METHODS:
            del self.methods[next(iter(self.methods))]
            is_news = False
        self.methods[method] = now + METHOD_SECONDS
        self.listens = True
        return is_news

    def on_shape_refused(self, shape: str, now: float, seconds: float | None = None) -> bool:
        """It refused what another took; whether it was known to. Once may be for a value; twice,
        and none taken in between, is for the shape: it is left out for ``seconds``.
        """
        if self.refuses_shape(shape, now):
            return True
        if self._suspected.pop(shape, 0.0) > now:
            _put(self.shapes, shape, now + (seconds or METHOD_SECONDS))
        else:
            _put(self._suspected, shape, now + SUSPECT_SECONDS)
        self.listens = True
        return False

    def on_rate_refused(self, method: str, now: float) -> float | None:
        """Its rate is reached. When it was before, if none of this method was taken since."""
        before = self._limited_at.pop(method, None)
        _put(self._limited_at, method, now)
        self.listens = True
        return before

    def on_method_limited(self, method: str, since: float, now: float, asked: float | None) -> None:
        """It is this method's own limit: it is left alone for ``asked``, or for twice as long as
        it took to be reached again.
        """
        seconds = min(LONGEST_LIMIT_SECONDS, max(SHORTEST_LIMIT_SECONDS, 2.0 * (now - since)))
        _put(self.limited, method, now + (asked or seconds))

    def take_invented(self) -> str:
        """What to say of names that are in no table of ours, and how many were not told."""
        more, self.invented_untold = self.invented_untold, 0
        words = ", a name that no table here has"
        return f"{words}, nor {more} more of that kind since the last word of it" if more else words

    def _count_invented(self, method: str, now: float) -> bool:
        self._invented.append(method)
        if len(self._invented) > MAX_INVENTED:
            self.methods.pop(self._invented.popleft(), None)
        if now - self._invented_told_at < INVENTED_SECONDS:
            self.invented_untold += 1
            return False
        self._invented_told_at = now
        return True

    def on_size_refused(self, request_bytes: int, now: float) -> None:
        if request_bytes <= 0:
            return
        self.refused_bytes = min(request_bytes, self.refused_bytes or request_bytes)
        self.took_bytes = min(self.took_bytes, self.refused_bytes - 1)
        self._size_until = now + SIZE_SECONDS

    def on_range_refused(self, blocks: int, limit: int, now: float) -> None:
        """It refused a range of so many blocks as too wide; ``limit`` is the widest it takes by
        its own word, 0 where it did not say.
        """
        if blocks <= 1:
            return
        refused = min(blocks, limit + 1) if limit else blocks
        self.refused_blocks = min(refused, self.refused_blocks or refused)
        self.took_blocks = min(self.took_blocks, self.refused_blocks - 1)
        self._range_until = now + RANGE_SECONDS

    def on_range_taken(self, blocks: int) -> None:
        """It answered a range of so many blocks: so it can."""
        if blocks > self.took_blocks:
            self.took_blocks = blocks
            if self.refused_blocks and blocks >= self.refused_blocks:
                self.refused_blocks = 0

    def on_batch_refused(self, now: float) -> None:
        self.batch_until = now + BATCH_SECONDS

    def on_taken(self, method: str, request_bytes: int, shape: str = "") -> None:
        """It answered a request of this method, size and shape: so it can."""
        if shape:
            self.shapes.pop(shape, None)
            self._suspected.pop(shape, None)
        if request_bytes > self.took_bytes:
            self.took_bytes = request_bytes
            if self.refused_bytes and request_bytes >= self.refused_bytes:
                self.refused_bytes = 0
        self.methods.pop(method, None)
        self._limited_at.pop(method, None)
        self.limited.pop(method, None)
        self._settle()

    def forget_methods(self) -> None:
        """What it refused, it refused for another reason: our key."""
        self.methods.clear()
        self.shapes.clear()
        self._suspected.clear()
        self._settle()

    def _settle(self) -> None:
        of_methods = self.methods or self._limited_at or self.limited
        self.listens = bool(of_methods or self.shapes or self._suspected)

    def forget_expired(self, now: float) -> None:
        if self.listens:
            self.methods = {m: until for m, until in self.methods.items() if until > now}
            self.shapes = {s: until for s, until in self.shapes.items() if until > now}
            self._suspected = {s: until for s, until in self._suspected.items() if until > now}
            self.limited = {m: until for m, until in self.limited.items() if until > now}
            old = now - METHOD_SECONDS
            self._limited_at = {m: at for m, at in self._limited_at.items() if at > old}
            self._settle()
        if now >= self._size_until:
            self.refused_bytes = 0
        if now >= self.batch_until:
            self.batch_until = 0.0
        if now >= self._range_until:
            self.refused_blocks = 0

    def copy(self) -> Exclusions:
        twin = Exclusions()
        twin.methods, twin.shapes = dict(self.methods), dict(self.shapes)
        twin.limited, twin._limited_at = dict(self.limited), dict(self._limited_at)
        twin._suspected, twin.listens = dict(self._suspected), self.listens
        twin._invented, twin._invented_told_at = self._invented.copy(), self._invented_told_at
        twin.invented_untold = self.invented_untold
        twin.refused_bytes, twin.took_bytes = self.refused_bytes, self.took_bytes
        twin._size_until, twin.batch_until = self._size_until, self.batch_until
        twin.refused_blocks, twin.took_blocks = self.refused_blocks, self.took_blocks
        twin._range_until = self._range_until
        return twin


def _put(shapes: dict[str, float], shape: str, until: float) -> None:
    while len(shapes) >= MAX_SHAPES:
        del shapes[next(iter(shapes))]
    shapes[shape] = until
