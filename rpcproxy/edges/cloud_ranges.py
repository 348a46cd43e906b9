"""Which cloud an address belongs to, by the range files that clouds publish, read from disk.

AWS ``ip-ranges.json``, Google ``cloud.json`` (and ``goog.json``), Azure ``ServiceTags_….json``,
Cloudflare ``ips-v4`` and ``ips-v6`` or its API's JSON, and plain lists, as are kept of Hetzner and
OVH: one network (CIDR, or ``FIRST - LAST``) a line, geofeeds (RFC 8805) with the region behind a
comma, or RIPEstat's ``announced-prefixes``. A plain list does not say whose it is: its file's name
does, or ``NAME=FILE``.

Nothing is downloaded. What is found is a guess: a CDN in front hides the cloud behind it.

State: none after reading.
"""

from __future__ import annotations

import ipaddress
import json
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

UNKNOWN: Final = "unknown"
# Azure's, the largest, has 5 MB.
LARGEST_BYTES: Final = 64 * 1024 * 1024
_OWNER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
# What the names of plain lists hold.
_OWNERS: Final = ("cloudflare", "hetzner", "ovh", "aws", "gcp", "azure")
_CLOUDFLARE_FILES: Final = ("ips-v4", "ips-v6")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class RangesError(ValueError):
    """A file cannot be used. ``str()`` is for people."""


class Guess(NamedTuple):
    """Where an address seems to be; ``region`` is ``unknown`` where the file does not say."""

    cloud: str
    region: str


class CloudRanges:
    """Networks and whose they are; of several that hold an address the smallest counts.

    ``notes`` says in words what was left out of which file.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._networks: dict[int, dict[tuple[int, int], Guess]] = {4: {}, 6: {}}
        self._lengths: dict[int, tuple[int, ...]] = {4: (), 6: ()}

    @classmethod
    def read(cls, files: Iterable[str], most_bytes: int = LARGEST_BYTES) -> CloudRanges:
        """Read ``FILE`` or ``NAME=FILE`` each, of ``most_bytes`` at most. Raises
        ``RangesError``.
        """
        ranges = cls()
        for file in files:
            ranges._take(_read(file, ranges.notes, most_bytes))
        return ranges

    def __len__(self) -> int:
        return sum(map(len, self._networks.values()))

    def guess(self, address: str) -> Guess | None:
        """The cloud of an IPv4 or IPv6 address, ``None`` where no file has it."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return None
        number, bits = int(parsed), parsed.max_prefixlen
        networks = self._networks[parsed.version]
        for length in self._lengths[parsed.version]:
            shift = bits - length
            found = networks.get((number >> shift << shift, length))
            if found is not None:
                return found
        return None

    def _take(self, entries: Iterable[tuple[Network, Guess]]) -> None:
        for network, guess in entries:
            networks = self._networks[network.version]
            key = (int(network.network_address), network.prefixlen)
            known = networks.get(key)
            # AWS names most networks twice, as a service's without region as well.
            if known is None or known.region == UNKNOWN:
                networks[key] = guess if known is None else Guess(known.cloud, guess.region)
        for version, networks in self._networks.items():
            lengths = {length for _, length in networks}
            self._lengths[version] = tuple(sorted(lengths, reverse=True))


# --------------------------------------------------------------------------
# Files


def _read(file: str, notes: list[str], most_bytes: int) -> list[tuple[Network, Guess]]:
    owner, path = _owner_and_path(file)
    text = _text(path, most_bytes)
    if text.lstrip()[:1] in ("{", "["):
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise RangesError(f"{path}: is no JSON text, though it begins like one") from None
        found = _of_document(document, owner, path)
    else:
        found = _of_lines(text, owner, path, notes)
    if not found:
        raise RangesError(f"{path}: no networks in it that are understood")
    return found


def _text(path: Path, most_bytes: int) -> str:
    try:
        kind = path.stat().st_mode
        # A shell gives a pipe for <(curl …). A device may have no end.
        if not stat.S_ISREG(kind) and not stat.S_ISFIFO(kind):
            raise RangesError(f"{path}: is no file")
        with path.open("rb") as file:
            # What the size says may be no bound: a pipe has none.
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise RangesError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > most_bytes:
        raise RangesError(f"{path}: larger than any range file ({most_bytes >> 20} MiB)")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RangesError(f"{path}: not UTF-8 text") from None


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise RangesError(f"{path}: there is no home directory for the ~") from None


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:
        return False


def _owner_and_path(file: str) -> tuple[str, Path]:
    name, sign, rest = file.partition("=")
    if sign and _OWNER.fullmatch(name) and not _is_there(file):
        return name.lower(), _expanded(rest)
    path = _expanded(file)
    lower = path.name.lower()
    if lower.startswith(_CLOUDFLARE_FILES):
        return "cloudflare", path
    return next((owner for owner in _OWNERS if owner in lower), ""), path


def _of_document(document: object, owner: str, path: Path) -> list[tuple[Network, Guess]]:
    entries = list(_entries(document, owner, path))
    return [
        (network, Guess(cloud, (region or UNKNOWN).lower()))
        for text, cloud, region in entries
        for network in _networks(text)
    ]


def _entries(document: object, owner: str, path: Path) -> Iterator[tuple[str, str, str]]:
    """Network, cloud and region, as the known documents have them."""
    if not isinstance(document, dict):
        return
    if isinstance(document.get("values"), list):
        yield from _of_azure(document["values"])
    elif isinstance(document.get("prefixes"), list):
        for entry in _tables([*document["prefixes"], *_list(document.get("ipv6_prefixes"))]):
            if "ip_prefix" in entry or "ipv6_prefix" in entry:
                region = str(entry.get("region") or "")
                network = str(entry.get("ip_prefix") or entry.get("ipv6_prefix"))
                yield network, "aws", "" if region == "GLOBAL" else region
            else:
                region = str(entry.get("scope") or "")
                network = str(entry.get("ipv4Prefix") or entry.get("ipv6Prefix") or "")
                yield network, "gcp", "" if region == "global" else region
    else:
        inner = document.get("result", document.get("data"))
        if isinstance(inner, dict):
            for key in ("ipv4_cidrs", "ipv6_cidrs"):
                for network in _list(inner.get(key)):
                    yield str(network), "cloudflare", ""
            for entry in _tables(_list(inner.get("prefixes"))):
                yield str(entry.get("prefix") or ""), _owned(owner, path), ""


def _of_azure(values: list[Any]) -> Iterator[tuple[str, str, str]]:
    """Tags of services name the same networks again; those of regions say where they are."""
    for tag in _tables(values):
        properties = tag.get("properties")
        if isinstance(properties, dict):
            for network in _list(properties.get("addressPrefixes")):
                yield str(network), "azure", str(properties.get("region") or "")


def _tables(entries: list[Any]) -> Iterator[Mapping[str, Any]]:
    return (entry for entry in entries if isinstance(entry, dict))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _of_lines(text: str, owner: str, path: Path, notes: list[str]) -> list[tuple[Network, Guess]]:
    found: list[tuple[Network, Guess]] = []
    unread: list[int] = []
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        first, *rest = (cell.strip().strip('"') for cell in line.partition("#")[0].split(","))
        networks = _networks(first)
        if networks:
            guess = Guess(_owned(owner, path), _region(rest))
            found += ((network, guess) for network in networks)
        elif first or any(rest):
            unread.append(number)
    if unread:
        notes.append(
            f"{path}: {len(unread)} of {len(lines)} lines hold no network that is understood,"
            f" and were left out; the first is line {unread[0]}"
        )
    return found


def _owned(owner: str, path: Path) -> str:
    if not owner:
        raise RangesError(
            f"{path}: does not say whose networks these are; "
            f"name them, as in: --cloud-ranges hetzner={path.name}"
        )
    return owner


def _region(cells: list[str]) -> str:
    """Of a geofeed's country, region and city the nearest."""
    told = [cell for cell in cells[:3] if cell]
    return re.sub(r"\s+", "-", told[-1].lower()) if told else UNKNOWN


def _networks(text: str) -> list[Network]:
    """One network, or those that a range of addresses is made of; none where it is neither."""
    first, dash, last = text.partition("-")
    try:
        if dash and "/" not in text:
            start, end = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
            return list(ipaddress.summarize_address_range(start, end))
        return [ipaddress.ip_network(text.strip(), strict=False)]
    except (ValueError, TypeError):
        return []
