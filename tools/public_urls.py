"""Makes ``rpcproxy/chains/public.py`` from an npm package of public endpoints.

``python -m tools.public_urls`` writes it, ``--check`` says whether it is current (exit 1 if not).
Needs npm and node, and fetches the version named below. To move on: raise ``VERSION``, run it, and
look at the difference, for such lists err: a URL nobody here knows belongs into ``LEFT_OUT``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from rpcproxy.chains.known import KNOWN
from rpcproxy.config.problems import Unfit
from rpcproxy.config.urls import check, guess_provider

Key = tuple[str, str]  # kind and identity of a chain

PACKAGE: Final = "@revoke.cash/chains"
VERSION: Final = "80.0.0"
LICENCE: Final = "MIT"
MADE: Final = Path(__file__).parents[1] / "rpcproxy" / "chains" / "public.py"

# 999 is another chain in that list.
WRONG_CHAINS: Final = frozenset({("evm", "999")})
# Companies, as the configuration guesses them from a host, that are not shipped.
LEFT_OUT: Final = {
    "flashbots": "keeps transactions private, so that a wallet misses its own",
    "mevblocker": "keeps transactions private, so that a wallet misses its own",
    "blocknative": "keeps transactions private, so that a wallet misses its own",
    "securerpc": "keeps transactions private, so that a wallet misses its own",
    "mycryptoapi": "that wallet is no more",
    "cloudflare-eth": "serves a part of the methods only",
    "ankr": "asks for a key",
    "pokt": "closed its keyless gateway",
    "blastapi": "closed",
    "chainstacklabs": "closed its keyless endpoints",
    "quicknode": "an endpoint of somebody's account",
    "defibit": "a second name of BNB Chain",
    "ninicoin": "a second name of BNB Chain",
    "sepolia": "closed",
    "berachain-apis": "a second name of Berachain",
    "rpcfree": "nobody says who runs it",
    "baseazul": "nobody says who runs it",
    "satelink": "nobody says who runs it",
    "web3endpoints": "nobody says who runs it",
    "oat": "nobody says who runs it",
}
# A part of a path as long as this is somebody's key.
_KEY: Final = re.compile(r"/[A-Za-z0-9_-]{24,}")

_DUMP: Final = (
    "const {allChains} = require(process.argv[1]);"
    "process.stdout.write(JSON.stringify(Object.fromEntries("
    "Object.entries(allChains()).map(([id, chain]) => [id, chain.rpc]))))"
)

_HEAD: Final = '''\
"""Public endpoints by kind and identity. Made by ``tools/public_urls.py``, not by hand. Pure.

From the npm package ``{package}`` {version}, licence {licence}, which copies ethereum-lists (MIT).
Keyless, one URL per company; what is left out, and why, stands in the script. The list is not
proof: every upstream is held against the chain's id and its genesis block before it serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

PUBLIC: Final[Mapping[tuple[str, str], tuple[str, ...]]] = MappingProxyType(
    {{
'''


def chosen(urls: Iterable[str]) -> tuple[str, ...]:
    """Of a chain's URLs those that are shipped, in the order of the list."""
    found: dict[str, str] = {}
    for raw in urls:
        url = raw.rstrip("/")
        if not url.startswith("https://") or "${" in url or _KEY.search(url):
            continue
        try:
            company = guess_provider(check(url, url, ("https",)))
        except Unfit:
            continue
        if company not in LEFT_OUT:
            found.setdefault(company, url)
    return tuple(found.values())


def rendered(lists: Mapping[Key, Iterable[str]], version: str = VERSION) -> str:
    """The text of the module for our chains."""
    lines = [_HEAD.format(package=PACKAGE, version=version, licence=LICENCE)]
    for chain in KNOWN.values():
        key = (chain.kind, chain.identity)
        urls = () if key in WRONG_CHAINS else chosen(lists.get(key, ()))
        if urls:
            lines.append(f'        ("{chain.kind}", "{chain.identity}"): (  # {chain.name}\n')
            lines += [f'            "{url}",\n' for url in urls]
            lines.append("        ),\n")
    return "".join((*lines, "    }\n)\n"))


def fetched() -> dict[Key, list[str]]:
    """The package's URLs by chain. Raises where npm or node fails."""
    with tempfile.TemporaryDirectory() as place:
        pack = ["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}", "--pack-destination", place]
        subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(place).glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(place, filter="data")
        manifest = json.loads((Path(place) / "package" / "package.json").read_text())
        if (manifest["version"], manifest["license"]) != (VERSION, LICENCE):
            raise SystemExit(f"{PACKAGE} is not {VERSION} under {LICENCE} any more")
        dump = ["node", "-e", _DUMP, str(Path(place) / "package")]
        lists = json.loads(subprocess.run(dump, check=True, stdout=subprocess.PIPE).stdout)
    return {("evm", chain_id): urls for chain_id, urls in lists.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="Make rpcproxy/chains/public.py.")
    parser.add_argument("--check", action="store_true", help="say whether it is current")
    options = parser.parse_args()
    text = rendered(fetched())
    if not options.check:
        MADE.write_text(text)
        return 0
    is_current = MADE.read_text() == text
    print(f"{MADE.name} is {'current' if is_current else 'not what the package gives'}")
    return 0 if is_current else 1


if __name__ == "__main__":
    sys.exit(main())
