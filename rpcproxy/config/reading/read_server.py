"""What the keys of ``server`` take, and what does not go together there."""

from __future__ import annotations

import re
from typing import Final

from rpcproxy.config.model import Address, Cache, Server
from rpcproxy.config.problems import Reported, Unfit
from rpcproxy.config.reading.converters import (
    Choice,
)
from rpcproxy.config.reading.reading import (
    Nested,
    Reading,
    Section,
    as_switch,
    described,
    scalar,
    takes,
    takes_section,
)
from rpcproxy.config.reading.schema_shapes import ADDRESS, FROM_ENVIRONMENT, SWITCH, either
from rpcproxy.config.reading.source import Node, Scalar, Table
from rpcproxy.config.urls import is_host, is_loopback

_ADDRESS: Final = "HOST:PORT such as 127.0.0.1:8545"
_PARTS: Final = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*)):([0-9]{1,5})")


@takes(ADDRESS)
def address(node: Node, reading: Reading) -> Address:
    """``host:port``, IPv6 in brackets and quotes; port 0 takes any free one."""
    value = scalar(node, f"{_ADDRESS}, in quotes where it begins with [")
    parts = _PARTS.fullmatch(value.text)
    if parts is None:
        if value.text.isdecimal():
            raise Unfit(f"is {described(node)}", _ADDRESS, f"127.0.0.1:{value.written}")
        raise Unfit(f"is {described(node)}", f"{_ADDRESS} (IPv6 as '[::1]:8545')")
    host, port = parts[1] or parts[2], int(parts[3])
    if not host:
        raise Unfit("has no host", f"{_ADDRESS}, or 0.0.0.0:{port} for every interface")
    if (":" in host) != (parts[1] is not None) or not is_host(host):
        raise Unfit(f"is {described(node)}, whose host is malformed", _ADDRESS)
    if port > 65535:
        raise Unfit(f"is {described(node)}", f"{_ADDRESS}, the port at most 65535")
    return reading.build(Address, {"host": host, "port": port}, node.line)


@takes(either(ADDRESS, SWITCH))
def admin(node: Node, reading: Reading) -> Address | None:
    """An address; ``off`` for none, ``on`` for the default one."""
    switch = as_switch(scalar(node, f"{_ADDRESS} or off"))
    if switch is None:
        return address(node, reading)
    return Server().admin if switch else None


@takes(either({"enum": [200, 503, "200", "503"]}, FROM_ENVIRONMENT))
def outage_status(node: Node, reading: Reading) -> int:
    return int(Choice(("200", "503"))(node, reading))


@takes_section(lambda reference: either(SWITCH, reference))
def cache(node: Node, reading: Reading, section: Section) -> Cache:
    """A section; ``off`` for a proxy that keeps no answers, ``on`` for the defaults."""
    switch = as_switch(node) if isinstance(node, Scalar) else None
    if switch is not None:
        return Cache() if switch else Cache(memory_bytes=0)
    if not isinstance(node, Table):
        raise Unfit(f"is {described(node)}", "a mapping with memory, disk and path, or off")
    found = Nested(section, Cache)(node, reading)
    if found.disk_bytes and "path" not in node.entries:
        raise Unfit("has disk and no path", "path, the directory to keep answers in")
    if found.path and "disk" not in node.entries:
        raise Unfit("has path and no disk", "disk, the bytes to use there, such as 1GiB")
    return found


@takes_section(lambda reference: reference)
def server(node: Node, reading: Reading, section: Section) -> Server:
    """Raises ``Unfit`` or ``Reported``."""
    found = reading.build(Server, reading.values(node, section), node.line)
    if found.admin and found.admin == found.listen and found.listen.port:
        reading.report.problem(
            node.line, "server: listen and admin are the same address; expected two, or admin: off"
        )
        raise Reported
    if found.admin and not is_loopback(found.admin.host) and not found.admin_token:
        reading.report.warn(
            node.line,
            f"server.admin is on {found.admin.host} without admin_token: whoever reaches it may "
            "read the status and the metrics, and nobody may change anything",
        )
    return found
