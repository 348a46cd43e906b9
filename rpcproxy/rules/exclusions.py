"""What an upstream said that it cannot do: methods, sizes, batches, wide ranges. Never a matter of
health.

All of it is forgotten after a while, since plans and versions change.
State: one object per upstream, written by ``Standings`` alone.
"""

from __future__ import annotations

from typing import Final

METHOD_SECONDS: Final = 300.0
SIZE_SECONDS: Final = 600.0
BATCH_SECONDS: Final = 600.0
RANGE_SECONDS: Final = 600.0
# Method names come from clients: without a bound they would fill the memory.
MAX_METHODS: Final = 128


class Exclusions:
    """``methods``: name → until when, in monotonic seconds. ``refused_bytes`` is the smallest
    request it refused as too large, 0 for none; ``took_bytes`` the largest that it took.
    ``refused_blocks`` and ``took_blocks`` are the same of ranges; they are asked about only for
    requests that have one, so the truth of the whole leaves them out.
    """

    __slots__ = (
        "_range_until",
        "_size_until",
        "batch_until",
        "methods",
        "refused_blocks",
        "refused_bytes",
        "took_blocks",
        "took_bytes",
    )

    def __init__(self) -> None:
        self.methods: dict[str, float] = {}
        self.refused_bytes = 0
        self._size_until = 0.0
        self.took_bytes = 0
        self.batch_until = 0.0
        self.refused_blocks = 0
        self.took_blocks = 0
        self._range_until = 0.0

    def __bool__(self) -> bool:
        return bool(self.methods or self.refused_bytes or self.batch_until)

    def refuses_size(self, request_bytes: int, now: float, *, is_batch: bool) -> bool:
        """Whether it lately refused a request of that size, or batches."""
        if is_batch and self.batch_until > now:
            return True
        return 0 < self.refused_bytes <= request_bytes and now < self._size_until

    def refuses(self, method: str, request_bytes: int, now: float, *, is_batch: bool) -> bool:
        return self.methods.get(method, 0.0) > now or self.refuses_size(
            request_bytes, now, is_batch=is_batch
        )

    def refuses_range(self, blocks: int, now: float) -> bool:
        """Whether it lately refused a range that wide."""
        return 0 < self.refused_blocks <= blocks and now < self._range_until

    def widest_range(self, now: float) -> int | None:
        """The widest range it is thought to take, ``None`` where no limit is known."""
        if not self.refused_blocks or now >= self._range_until:
            return None
        return self.refused_blocks - 1

    def on_unsupported(self, method: str, now: float) -> bool:
        """It lacks the method; whether that is news worth telling."""
        if not method:
            return False
        is_news = self.methods.pop(method, None) is None
        while len(self.methods) >= MAX_METHODS:
            del self.methods[next(iter(self.methods))]
            is_news = False
        self.methods[method] = now + METHOD_SECONDS
        return is_news

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

    def on_taken(self, method: str, request_bytes: int) -> None:
        """It answered a request of this method and size: so it can."""
        if request_bytes > self.took_bytes:
            self.took_bytes = request_bytes
            if self.refused_bytes and request_bytes >= self.refused_bytes:
                self.refused_bytes = 0
        self.methods.pop(method, None)

    def forget_expired(self, now: float) -> None:
        if self.methods:
            self.methods = {m: until for m, until in self.methods.items() if until > now}
        if now >= self._size_until:
            self.refused_bytes = 0
        if now >= self.batch_until:
            self.batch_until = 0.0
        if now >= self._range_until:
            self.refused_blocks = 0

    def copy(self) -> Exclusions:
        twin = Exclusions()
        twin.methods = dict(self.methods)
        twin.refused_bytes, twin.took_bytes = self.refused_bytes, self.took_bytes
        twin._size_until, twin.batch_until = self._size_until, self.batch_until
        twin.refused_blocks, twin.took_blocks = self.refused_blocks, self.took_blocks
        twin._range_until = self._range_until
        return twin
