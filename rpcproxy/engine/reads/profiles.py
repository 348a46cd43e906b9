"""What each method needs, prepared once, and what each request needs beyond that.

State: the profiles by method name, and the heights that tags stand for at this moment.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from rpcproxy.chains.kind import Methods
from rpcproxy.chains.method import Keep, Method, MethodKind, Subject
from rpcproxy.chains.parts.asked_at import HASH, LATEST, PENDING, BlockNeed
from rpcproxy.chains.parts.heights import Heights, Pins
from rpcproxy.chains.parts.searches import Searches
from rpcproxy.clock import Clock
from rpcproxy.config.model import Chain
from rpcproxy.engine.attempts.calls import SingleCall, Touchstone
from rpcproxy.engine.sends.ledger import Ledger
from rpcproxy.messages import MethodClass, Request
from rpcproxy.rules.heads.heads import Heads
from rpcproxy.rules.requests.lateness import is_costly, longest_attempt_seconds
from rpcproxy.rules.requests.steps import Policy
from rpcproxy.rules.standing.exclusions import METHOD_SECONDS, SUSPECT_SECONDS
from rpcproxy.rules.standing.need import Need, of_old
from rpcproxy.rules.standing.reach import NEAR_BLOCKS

HEAVY_ATTEMPTS: Final = 3  # a heavy attempt may take this part of the request's time
LARGE_REQUEST_BYTES: Final = 64 * 1024  # from here on, sizes that an upstream took are learned
# Upstreams are thought to refuse a shape for no longer.
SHAPED_SECONDS: Final = METHOD_SECONDS + SUSPECT_SECONDS
MAX_PROFILES: Final = 1000  # clients may invent method names
BY_NAME: Final = b" by name"  # the end of the keys of what may be asked as it came
_KEPT_ANYWAY: Final = (Keep.MINED, Keep.FOREVER)


class Profile(msgspec.Struct, gc=False):
    """What is the same for every request of a method."""

    method: Method
    method_class: MethodClass
    need: Need
    at_head: Need  # the same, at the served head
    policy: Policy
    is_read: bool
    is_large: bool  # its answers are worth compressing
    is_pinned: bool  # it has a block parameter that tags are replaced in
    is_state: bool  # it may be asked by a block's hash
    is_kept: bool  # its answers may be kept
    is_watched: bool  # its good answers are told of, one by one
    kept_by: str  # and for how long, as the counters call it
    head: bytes  # of the request for an upstream, up to its params
    key: bytes  # of its answers, up to the params
    close_look_bytes: int = LARGE_REQUEST_BYTES  # larger params are looked at closely
    shaped_until: float = 0.0  # until then the shape of params matters

    def encode(self, id: int, params: bytes | msgspec.Raw) -> bytes:
        """One request for an upstream, under an id of ours."""
        return b'%b%b,"id":%d}' % (self.head, params or b"[]", id)


class Profiles:
    """See the module's docstring. One per chain."""

    def __init__(  # noqa: PLR0913 -- parts of a kind, each for itself
        self,
        chain: Chain,
        heads: Heads,
        ledger: Ledger,
        truth: Touchstone | None = None,
        *,
        methods: Methods,
        pins: Pins,
        searches: Searches | None,
        clock: Clock,
    ) -> None:
        """``truth``: what answers are held against."""
        self.describe, self._shape_of = methods.describe, methods.shape_of
        self._heights_at, self._pin = pins.heights, pins.pin
        self._required_block = pins.required_block
        self._range_of = None if searches is None else searches.range_of
        self._ledger, self._shown = ledger, ledger.shown
        self._now = clock.monotonic
        self._privacy = ledger.privacy
        self.policies = policies(chain)
        self.heights = self._heights_at(-1, (), "")
        self._heads = heads
        self._is_pinning = chain.consistency == "pinned"
        self._is_routing = chain.consistency != "off"
        self._truth = truth
        self.known: dict[str, Profile] = {}  # by method name
        self._invented: deque[str] = deque()  # names that are in no table of ours
        self._final: object = None
        self._head: object = None

    def of(self, name: str) -> Profile:
        """What a method needs; remembered, within bounds."""
        known = self.known.get(name)
        if known is not None:
            return known
        method = self.describe(name)
        policy = self.policies[method.method_class]
        if is_costly(method):
            policy = costly(policy)
        need = Need(
            method.method_class,
            name,
            # What is looked up by hash is likely to be in the latest blocks.
            wants_head=self._is_routing
            and method.kind in (MethodKind.HEAD_READ, MethodKind.BLOCK_READ, MethodKind.LOOKUP),
            for_send=method.kind is MethodKind.SEND,
            last_resort=False,
            data=method.data,
        )
        is_read = (
            method.kind not in (MethodKind.SEND, MethodKind.STATEFUL, MethodKind.REFUSED)
            and method.subject is not Subject.HEAD
        )
        profile = Profile(
            method,
            method.method_class,
            need,
            need,
            msgspec.structs.replace(
                policy,
                can_hedge=policy.can_hedge and method.can_hedge,
                confirm_nulls=method.confirm_null,
            ),
            is_read=is_read,
            is_large=method.method_class is MethodClass.HEAVY,
            is_pinned=self._is_pinning
            and self._pin is not None
            and method.kind is MethodKind.BLOCK_READ,
            is_state=method.takes_hash,
            is_watched=True,
            is_kept=is_read and self._is_routing and method.keep is not Keep.NEVER,
            kept_by=method.keep.value,
            head=b'{"jsonrpc":"2.0","method":%b,"params":' % msgspec.json.encode(name),
            key=name.encode() + b" ",
        )
        if method.name == name:  # one of absurd length is not kept
            if not method.is_known:  # those that we know keep their place
                self._invented.append(name)
                if len(self._invented) > MAX_PROFILES:
                    del self.known[self._invented.popleft()]
            self.known[name] = profile
        return profile

    # ---- one request

    def prepare(self, request: Request, profile: Profile) -> SingleCall:
        """What is sent for a read, what an upstream must have for it, and what its answer is
        kept under (an empty key: not at all).
        """
        heads = self._heads
        served = heads.served
        if (
            heads.served_head is not self._head
            or served != self.heights.latest
            or heads.finality.anchors is not self._final
        ):
            self._renew(heads)
        method = profile.method
        params = request.params
        key, tag = b"", 0
        by_hash: Heights | None = None
        if profile.is_pinned and self._pin is not None:
            pinned = self._pin(method, params, self.heights)
            params, block = pinned.params, pinned.block
            if block == served:
                need = profile.at_head
                if need.block != served:
                    need = self._at_head(profile, served)
                if profile.is_state:
                    by_hash = self.heights
                if method.keep is Keep.BLOCK:
                    key = profile.key + params
            elif block > served >= 0 and method.is_ranged:
                need = self._at_head(profile, served)  # up to where the chain goes, say nodes
            elif block >= 0:
                need = self._at_block(profile, params, block, served)
                if method.keep is Keep.BLOCK and block < served:
                    key = profile.key + params
            else:
                need, tag = self._unpinned(profile, block), tag_of(block)
            if pinned.is_ambiguous and key:
                # Where nobody has that block it is asked otherwise (``as_spelled``), and the answer
                # is of another one: nothing for whoever asks by its number.
                key += BY_NAME
        elif method.kind is MethodKind.BLOCK_READ:
            block = self._required_block(method, params)
            need, tag = self._unpinned(profile, block), tag_of(block)
        else:
            need = self._at_head(profile, heads.shown) if profile.need.wants_head else profile.need
            if method.keep in _KEPT_ANYWAY:
                key = profile.key + params
            elif method.keep is Keep.HEAD and self._is_pinning and served >= 0:
                key = profile.key + params + self.heights.latest_text
        size = len(params)
        if size > profile.close_look_bytes:
            need = self._looked_at(need, profile, params)
        if size > LARGE_REQUEST_BYTES or not profile.is_kept:
            key = b""
        if self._privacy.has_any and self._is_private(method, params):
            need = msgspec.structs.replace(need, private_only=True)
            key = b""
        truth = self._truth
        if not self._is_routing and not (method.subject is Subject.COUNTER and tag == PENDING):
            truth = None  # but what was sent through here counts in any case
        return SingleCall(method, need, params, profile.is_large, 1, key, truth, by_hash, tag)

    def watch_shapes(self, name: str) -> None:
        """An upstream refused the params of such a request, and another took them."""
        profile = self.known.get(name)
        if profile is not None:
            profile.close_look_bytes = -1
            profile.shaped_until = self._now() + SHAPED_SECONDS

    def is_outdated(self, call: SingleCall) -> bool:
        """Whether it names a transaction that became private after it was prepared."""
        return (
            self._privacy.has_any
            and not call.need.private_only
            and self._is_private(call.method, bytes(call.params))
        )

    def _is_private(self, method: Method, params: bytes) -> bool:
        """Whether nobody but private upstreams may hear of it, or that is not known yet."""
        if self._privacy.is_unsure and self._shown.looked_up(method, params):
            return True
        return self._ledger.names_private(params)

    def as_spelled(self, request: Request, profile: Profile) -> SingleCall | None:
        """The same as it came, ``None`` where its names of blocks mean the same to all."""
        method, params = profile.method, request.params
        if self._pin is None or not self._pin(method, params, self.heights).is_ambiguous:
            return None
        block = self._required_block(method, params)
        need, tag = self._unpinned(profile, block), tag_of(block)
        if self._privacy.has_any and self._is_private(method, params):
            need = msgspec.structs.replace(need, private_only=True)
        return SingleCall(method, need, params, profile.is_large, truth=self._truth, tag=tag)

    def _renew(self, heads: Heads) -> None:
        finality = heads.finality
        head = self._head = heads.served_head
        anchors = self._final = finality.anchors
        self.heights = self._heights_at(
            heads.served,
            tuple(-1 if anchor is None else anchor.number for anchor in anchors),
            head.hash if head is not None and head.number == heads.served else "",
        )

    @staticmethod
    def _at_head(profile: Profile, served: int) -> Need:
        """Asked of those that have the served head; the same value while that stands."""
        if profile.at_head.block != served:
            profile.at_head = msgspec.structs.replace(profile.need, block=served)
        return profile.at_head

    def _at_block(self, profile: Profile, params: bytes, block: int, served: int) -> Need:
        """At a number: near the head, of those whose head is believed."""
        is_near = block > served - NEAR_BLOCKS
        need = msgspec.structs.replace(profile.need, block=block, wants_head=is_near)
        if is_near and profile.method.method_class is MethodClass.LIGHT:
            return need
        range_of = self._range_of if profile.method.is_ranged else None
        span = None if range_of is None else range_of(params)
        low, high = span or (block, block)
        return of_old(need, low, high, served)

    def _unpinned(self, profile: Profile, block: int) -> Need:
        """Tags stay: it depends on the upstream's own head, or on a hash."""
        need, served = profile.need, self._heads.served
        if block > served >= 0 and self._is_routing and profile.method.is_ranged:
            return self._at_head(profile, served)  # up to where the chain goes
        if block >= 0:
            return msgspec.structs.replace(need, block=block, wants_head=False)
        if block in (LATEST, PENDING):
            return self._at_head(profile, self._heads.shown) if self._is_routing else need
        if block == HASH:
            return need
        return msgspec.structs.replace(need, wants_head=False)

    def _looked_at(self, need: Need, profile: Profile, params: bytes) -> Need:
        """The need with the size of its params where they are large, and their shape where some
        upstream lately refused one of this method.
        """
        size = len(params)
        if size > LARGE_REQUEST_BYTES:
            need = msgspec.structs.replace(need, request_bytes=size)
        if profile.close_look_bytes < 0:
            if self._now() > profile.shaped_until:
                profile.close_look_bytes = LARGE_REQUEST_BYTES
            else:
                shape = self._shape_of(profile.method.name, params)
                need = msgspec.structs.replace(need, shape=shape)
        return need


def tag_of(block: BlockNeed) -> int:
    """The tag itself, 0 for whatever is none."""
    return block if HASH < block < 0 else 0


def costly(policy: Policy) -> Policy:
    """For work of which there is no second copy while the first upstream is well."""
    seconds = longest_attempt_seconds(policy.attempt_seconds, policy.deadline_seconds)
    return msgspec.structs.replace(policy, attempt_seconds=seconds, copies_need_doubt=True)


def policies(chain: Chain) -> dict[MethodClass, Policy]:
    """The policies of a chain's configuration, by class."""
    deadlines = chain.deadlines
    can_hedge = chain.hedge != "off"
    fixed = float(chain.hedge) if isinstance(chain.hedge, float | int) else None
    return {
        MethodClass.LIGHT: Policy(
            deadlines.light_seconds, chain.attempt_timeout_seconds, can_hedge, fixed
        ),
        MethodClass.HEAVY: Policy(
            deadlines.heavy_seconds,
            max(chain.attempt_timeout_seconds, deadlines.heavy_seconds / HEAVY_ATTEMPTS),
            can_hedge,
            fixed,
        ),
        MethodClass.SEND: Policy(
            deadlines.send_seconds,
            max(chain.attempt_timeout_seconds, deadlines.send_seconds / 2),
            can_hedge=False,
        ),
    }
