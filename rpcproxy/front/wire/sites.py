"""What one visitor has of addresses. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final

_SITE_BITS: Final = 64  # of an IPv6 address: one visitor has all below


def site_of(address: str | None) -> str:
    """What one visitor has of addresses."""
    try:
        known = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(known, ipaddress.IPv6Address):
        known = known.ipv4_mapped or known
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(ipaddress.ip_network((known, _SITE_BITS), strict=False))
