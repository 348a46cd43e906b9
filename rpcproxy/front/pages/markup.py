"""HTML out of parts: whatever is not ``Markup`` is escaped, so that no name or reason, whoever made
it up, becomes a tag. A page with its style and script, and the policy that allows these alone.
Pure, but for reading our own style and scripts once.
"""

from __future__ import annotations

import base64
import hashlib
import html
from importlib.resources import files
from typing import Final

from rpcproxy.states import Level

_VOID: Final = frozenset({"meta", "link", "br", "rect"})
# Of a tab: by shape, and by colour besides. No request goes out for it.
_SHAPES: Final = {
    Level.WELL: "%3Ccircle cx='8' cy='8' r='6' fill='%232f7d4f'/%3E",
    Level.TROUBLED: "%3Cpath d='M8 1l7 13H1z' fill='%23d99a1c'/%3E",
    Level.DOWN: "%3Cpath d='M2 2h12v12H2z' fill='%23c9392f'/%3E",
    Level.UNKNOWN: "%3Cpath d='M2 8h12' stroke='%237c8288' stroke-width='4'/%3E",
}


def icon(level: str) -> str:
    """What the tab of a page shows at a level."""
    shape = next((drawn for known, drawn in _SHAPES.items() if known == level), "")
    return (
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
        f"{shape or _SHAPES[Level.UNKNOWN]}%3C/svg%3E"
    )


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


MarkupPart = str | int | float | None


def tag(name: str, /, *children: MarkupPart, **attributes: MarkupPart | bool) -> Markup:
    """An element. ``class_`` is ``class``, ``aria_label`` is ``aria-label``; ``None`` and ``False``
    leave an attribute or a child out, ``True`` is one without a value.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written = key.rstrip("_").replace("_", "-")
        parts.append(written if value is True else f'{written}="{html.escape(str(value))}"')
    opening = " ".join(parts)
    if name in _VOID:
        return Markup(f"<{opening}>" if name != "rect" else f"<{opening}/>")
    return Markup(f"<{opening}>{join(*children)}</{name}>")


def join(*children: MarkupPart) -> Markup:
    """One after another."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else html.escape(str(child))
            for child in children
            if child is not None and child != ""
        )
    )


def asset(name: str) -> str:
    """One of ``front/pages/assets``. No script or style may hold the tag that ends it."""
    text = (files("rpcproxy.front.pages") / "assets" / name).read_text(encoding="utf-8")
    assert "</" not in text  # noqa: S101 -- ours, and held by a test
    return text


class Shell:
    """What pages of one kind share: their styles, their script, and so their headers."""

    def __init__(self, *, styles: tuple[str, ...], script: str) -> None:
        self._style = Markup("".join(map(asset, styles)))
        self._script = Markup(asset(script))
        policy = (
            "default-src 'none'",
            f"style-src '{_digest(self._style)}'",
            f"script-src '{_digest(self._script)}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
        self.headers: Final = {
            "Content-Security-Policy": "; ".join(policy),
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "Vary": "Accept",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }

    def page(self, title: str, body: Markup, level: str = Level.WELL) -> str:
        """The whole document; ``level``: how what it tells of stands."""
        head = join(
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", title),
            tag("link", rel="icon", href=icon(level)),
            tag("style", self._style),
        )
        content = join(body, tag("script", self._script))
        whole = tag("html", tag("head", head), tag("body", content), lang="en")
        return f"<!doctype html>\n{whole}\n"


def _digest(text: str) -> str:
    """What the policy calls an inline style or script by (CSP level 2)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
