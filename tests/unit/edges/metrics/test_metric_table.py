"""The table of metrics: what is read at /metrics is what its rows say."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from rpcproxy.edges.metrics.exposition import Exposition, ProxyCollector
from tests.kits.filled_metrics import busy_sources, filled_counters

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FOLDER = Path(__file__).parent


@pytest.mark.parametrize(
    ("accept", "file"), [("", "scraped.prom"), (OPENMETRICS, "scraped.openmetrics")]
)
async def test_the_text_is_the_same_to_the_byte(accept: str, file: str) -> None:
    """After a metric was added or changed on purpose: play it with ``WRITE_SCRAPED=1``, and look
    at what changed in the files.
    """
    collector = ProxyCollector(filled_counters(), busy_sources())
    text = (await Exposition(collector).scrape(accept))[0].decode()
    # What runs here is no part of it, nor are prometheus_client's own metrics.
    text = re.split("^# HELP (?:process|python)_", text, maxsplit=1, flags=re.MULTILINE)[0]
    text = re.sub(r'(python|version)="[^"]*"', r'\1=""', text)
    if os.environ.get("WRITE_SCRAPED"):
        (FOLDER / file).write_text(text)
    assert text == (FOLDER / file).read_text()
