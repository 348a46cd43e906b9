"""What is in force, as those see it who tell of it or give it orders.

``app.proxy.Proxy`` is all of this; a reload replaces the parts, so whoever asks has to ask anew.
No state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from rpcproxy.app.admin_port import AdminPort
from rpcproxy.app.chain import ChainRuntime
from rpcproxy.app.people.own_refusals import OwnRefusals
from rpcproxy.app.people.recorder import Recorder
from rpcproxy.app.people.request_records import RequestRecords
from rpcproxy.app.people.timeline import Timeline
from rpcproxy.clock import Clock
from rpcproxy.config.model import Config
from rpcproxy.edges.logs import Redactor
from rpcproxy.edges.metrics.metrics import Counters
from rpcproxy.engine.reads.pipeline import Pipeline
from rpcproxy.front.operators.admin import RecentChanges
from rpcproxy.front.wire.listener import Listener
from rpcproxy.rules.answers.holding import Holdings


class InForce(Protocol):
    """A proxy at work."""

    @property
    def clock(self) -> Clock: ...

    @property
    def config(self) -> Config: ...

    @property
    def config_path(self) -> str | None: ...

    @property
    def last_reload(self) -> Mapping[str, Any]: ...

    @property
    def chains(self) -> Mapping[str, ChainRuntime]: ...

    @property
    def doors(self) -> Mapping[str, Pipeline]: ...

    @property
    def listener(self) -> Listener | None: ...

    @property
    def admin(self) -> AdminPort | None: ...

    @property
    def counters(self) -> Counters: ...

    @property
    def holdings(self) -> Holdings: ...

    @property
    def changes(self) -> RecentChanges: ...

    @property
    def recorder(self) -> Recorder: ...

    @property
    def timeline(self) -> Timeline: ...

    @property
    def refusals(self) -> OwnRefusals: ...

    @property
    def records(self) -> RequestRecords: ...

    @property
    def redactor(self) -> Redactor: ...
