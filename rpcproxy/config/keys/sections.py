"""All sections of the configuration: what the reader, the JSON Schema and the page in docs go by.

To add a key:
1. Give the value an attribute with its default in ``config.model``; units are part of its name.
2. Add one row to the section, here in ``config.keys``; the order of rows is that of all messages.
3. Take a converter of ``reading.converters``. Where none fits, write one beside those of the
   section (``reading.read_…``) and say above it what it takes (``@takes``).
4. ``python -m tools.configuration_page`` writes the key into docs/configuration.md and the schema.
   Add it to config/example.yaml.
5. In tests/unit/config: what is refused (test_config_refused), what it fills (test_config_load).
CONTRIBUTING.md says more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rpcproxy.config.keys.chain_keys import CHAIN, DEADLINES
from rpcproxy.config.keys.operation_keys import HISTORY, NOTICE, TRACES
from rpcproxy.config.keys.sends_keys import JOURNAL
from rpcproxy.config.keys.server_keys import CACHE, LIMITS, SERVER, TLS
from rpcproxy.config.keys.upstream_keys import PHRASE, UPSTREAM
from rpcproxy.config.reading.converters import text
from rpcproxy.config.reading.read_chain import chains
from rpcproxy.config.reading.read_operation import notices
from rpcproxy.config.reading.read_server import server
from rpcproxy.config.reading.reading import REQUIRED, Key, Section

# The file as a whole: its keys are told in words of their own, not in a table.
TOP: Final = Section(
    title="the file",
    heading="",
    rows=(
        Key("server", "server", server(SERVER), "section", "see there", "", may_be_empty=True),
        Key("chains", "chains", chains(CHAIN), "list", REQUIRED, ""),
        Key("name", "name", text, "text", "the file's path", ""),
        Key("notify", "notify", notices(NOTICE), "list", "none", "", may_be_empty=True),
    ),
)

# By the headings of docs/configuration.md, in the order of that page.
SECTIONS: Final[Mapping[str, Section]] = {
    section.heading: section
    for section in (
        *(SERVER, TLS, LIMITS, CACHE, HISTORY, TRACES, JOURNAL),
        *(CHAIN, DEADLINES, UPSTREAM, PHRASE, NOTICE),
    )
}


def homes() -> dict[str, tuple[str, ...]]:
    """The titles of the sections that each key belongs to, for who put it elsewhere."""
    found: dict[str, tuple[str, ...]] = {}
    # Of a key that several have, the history's is the one that is seldom meant.
    for section in sorted(SECTIONS.values(), key=lambda section: section is HISTORY):
        for key in section.keys:
            found[key] = (*found.get(key, ()), section.title)
    return found
