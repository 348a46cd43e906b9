"""What an upstream said that it cannot do: methods, sizes, batches. Never a matter of health.

All of it is forgotten after a while, since plans and versions change.
State: one object per upstream, written by ``Standings`` alone.
"""

from __future__ import annotations

from typing import Final

METHOD_SECONDS: Final = 300.0
SIZE_SECONDS: Final = 600.0
BATCH_SECONDS: Final = 600.0
# Method names come from clients: without a bound they would fill the memory.
MAX_METHODS: Final = 128


class Exclusions:
    """``methods``: name → until when, in monotonic seconds. ``refused_bytes`` is the smallest
    request it refused as too large, 0 for none; ``took_bytes`` the largest that it took.
    """

    __slots__ = ("_size_until", "batch_until", "methods", "refused_bytes", "took_bytes")

    def __init__(self) -> None:
        self.methods: dict[str, float] = {}
        self.refused_bytes = 0
        self._size_until = 0.0
        self.took_bytes = 0
        self.batch_until = 0.0

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

    def copy(self) -> Exclusions:
        twin = Exclusions()
        twin.methods = dict(self.methods)
        twin.refused_bytes, twin.took_bytes = self.refused_bytes, self.took_bytes
        twin._size_until, twin.batch_until = self._size_until, self.batch_until
        return twin
