"""Why a port cannot be had, in words."""

from __future__ import annotations

import errno


def explain_port(error: OSError, remedy: str = "choose another port") -> str:
    """What ``Proxy.start`` raised, as a sentence; ``remedy`` is what the user can do about it."""
    if error.errno == errno.EADDRINUSE:
        return f"{error.filename} is in use by another program: stop that one, or {remedy}"
    if error.errno == errno.EACCES:
        return f"{error.filename} may not be opened by this user: {remedy}, from 1024 on"
    return f"cannot listen on {error.filename}: {error.strerror or error}"
