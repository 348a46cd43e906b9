"""What of a configuration is secret, in the forms in which others repeat it, and how it is taken
out of texts. Pure.

Upstreams repeat what they were sent, keys included: in errors, in pages, spelled in capitals, as
part of a URL, in base64. ``Redactor`` finds all of that. It is no help against an upstream that
wants to give a key away: that one can spell it in ways nobody looks for.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

from rpcproxy.config.model import Config, Upstream

REDACTED: Final = "[secret]"
# Shorter secrets would tear up every line, and protect nothing.
SHORTEST_SECRET: Final = 4
# Shorter pieces of base64 occur by chance.
_SHORTEST_CODED: Final = 8
_SHORTEST_PATH: Final = 10
_KEY_NAME: Final = re.compile("key|token|secret|auth|pass|sig", re.IGNORECASE)


class Redactor:
    """Takes known secrets out of texts, in capitals or not. It only ever learns, so that what a
    reload removed stays secret.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Learn more secrets; those under four characters are not taken out."""
        known = self._secrets | {each for each in secrets if len(each) >= SHORTEST_SECRET}
        if known == self._secrets:
            return
        self._secrets = known
        # What was taken out already is left alone, where a password is "secret".
        words = sorted({each.lower() for each in known} | {REDACTED})
        self._pattern = re.compile(_any_of(words), re.IGNORECASE)

    def __call__(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(REDACTED, text)


def _any_of(words: list[str]) -> str:
    """A pattern for the longest of ``words`` (sorted, each once) that begins at a place. What they
    have in common at the beginning is looked at once: alternatives one by one take ten times as
    long, for every character of a text.
    """
    pairs = enumerate(zip(words[0], words[-1], strict=False))
    length = next((at for at, (one, other) in pairs if one != other), len(words[0]))
    common, rests = words[0][:length], [word[length:] for word in words]
    branches = [_any_of(list(group)) for _, group in groupby(filter(None, rests), itemgetter(0))]
    if not branches:
        return re.escape(common)
    is_whole = not rests[0]  # sorted: the empty one comes first
    return f"{re.escape(common)}(?:{'|'.join(branches)}){'?' if is_whole else ''}"


def secrets_of(config: Config) -> set[str]:
    """Everything in a configuration that must not be shown: URLs, and the parts of them that
    look like keys, passwords, header values; in the forms in which they come back.
    """
    found: set[str] = set()
    for chain in config.chains:
        for upstream in chain.upstreams:
            found |= secrets_of_upstream(upstream)
    for notice in config.notify:
        found |= _secrets_of_url(notice.url)
        found |= _secrets_of_proxy(notice.proxy)
    if config.server.traces.url:
        found |= _secrets_of_url(config.server.traces.url)
    found |= _forms(config.server.admin_token or "")
    return _long_enough(found)


def secrets_of_upstream(upstream: Upstream) -> set[str]:
    """What an upstream is sent and may repeat."""
    found = _secrets_of_url(upstream.url)
    if upstream.ws_url:
        found |= _secrets_of_url(upstream.ws_url)
    for proxy in (upstream.proxy, upstream.ws_proxy):
        found |= _secrets_of_proxy(proxy)
    for value in upstream.headers.values():
        found |= _forms(value)
        scheme, _, rest = value.rpartition(" ")  # "Bearer KEY"
        found |= _forms(rest)
        if scheme.lower() == "basic":
            found |= _decoded(rest)
    return _long_enough(found)


def _long_enough(found: set[str]) -> set[str]:
    return {secret for secret in found if len(secret) >= SHORTEST_SECRET}


def _secrets_of_url(url: str) -> set[str]:
    parts = urlsplit(url)
    found = {url, url.rstrip("/"), html.escape(url)}
    keys: list[str] = []
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if user or password:
        keys += [parts.netloc.rpartition("@")[0], f"{user}:{password}", password]
    if _has_key_shape(user):  # some take the key as the user name
        keys.append(user)
    keys += [segment for segment in parts.path.split("/") if _has_key_shape(segment)]
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        if _has_key_shape(value) or _KEY_NAME.search(name):
            keys += [value, unquote_plus(value)]
    for key in keys:
        found |= _forms(key)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    if not keys and len(target) >= _SHORTEST_PATH:
        found.add(target)
    return found


def _secrets_of_proxy(proxy: str | None) -> set[str]:
    """Of an outbound proxy the user's name and password; its host may be shown."""
    if proxy is None or "@" not in proxy:
        return set()
    parts = urlsplit(proxy)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    found = {proxy, *_forms(parts.netloc.rpartition("@")[0]), *_forms(f"{user}:{password}")}
    return found | _forms(password)


def _has_key_shape(text: str) -> bool:
    """Whether a part of a URL is a key rather than a name such as ``eth-mainnet``."""
    has_digit = any(char.isdigit() for char in text)
    return len(text) >= 24 or (len(text) >= 8 and has_digit) or (len(text) >= 16 and text.isalnum())


def _forms(key: str) -> set[str]:
    """A secret as it is, in a URL, in HTML, in JSON, and in base64."""
    plain = unquote(key)
    found = {key, plain, quote(plain), quote(plain, safe=""), quote_plus(plain)}
    found |= {html.escape(plain), json.dumps(plain)[1:-1]}
    for text in {key, plain}:
        found |= _coded(text.encode())
    return found


def _coded(key: bytes) -> set[str]:
    """In base64: by itself, and as part of something longer, where it begins at any third byte."""
    if len(key) * 8 < _SHORTEST_CODED * 6:
        return set()
    found: set[str] = set()
    for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
        alone = alphabet(key).decode()
        found |= {alone, alone.rstrip("=")}
        for before in range(3):
            # Characters that hold bits of what is in front or behind are not known.
            first, end = -(-before * 8 // 6), (before + len(key)) * 8 // 6
            found.add(alphabet(bytes(before) + key).decode()[first:end])
    return {text for text in found if len(text) >= _SHORTEST_CODED}


def _decoded(coded: str) -> set[str]:
    """What ``Authorization: Basic`` carries."""
    try:
        text = base64.b64decode(coded, validate=True).decode()
    except ValueError:
        return set()
    return _forms(text) | _forms(text.partition(":")[2])
