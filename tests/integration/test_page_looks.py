"""The status page in each kind of state, as a real Chromium lays it out: on four widths, in light
and dark, nothing is cut, no word is broken, and axe-core (contrast AA among it) has nothing to say.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rpcproxy.front.pages.status_html import status_body
from rpcproxy.front.pages.status_page import SHELL
from tests.integration.chromium import Chromium
from tests.integration.conftest import CLIENTS, missing
from tests.kits.page_states import LONG_NAME, page_states

AXE = CLIENTS / "node_modules" / "axe-core" / "axe.min.js"
NOW = datetime(2026, 9, 1, 12, 1, tzinfo=UTC)
WIDTHS = (360, 600, 900, 1200)
STATES = page_states()
# Words that stand on two lines. What is seen by screen readers alone is laid out nowhere.
BROKEN = r"""(() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, head = node.parentElement.closest("thead");
    if (node.parentElement.closest(".aside, title, script")) continue;
    if (head && getComputedStyle(head).position === "absolute") continue;
    for (const word of node.data.matchAll(/[^\s\-\/–·:.,@|_]+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const boxes = [...range.getClientRects()].filter((box) => box.width > 0);
      if (new Set(boxes.map((box) => Math.round(box.top))).size > 1) found.push(word[0]);
    }
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    binary = shutil.which("chromium")
    if binary is None:
        missing("chromium")
    if not AXE.exists():
        missing("the Node package axe-core")
    browser = Chromium(binary, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.mark.parametrize("name", STATES)
def test_a_page_in_a_state(name: str, browser: Chromium, tmp_path: Path) -> None:
    status = STATES[name]
    page = tmp_path / "page.html"
    page.write_text(SHELL.page(status["sentence"], status_body(status, NOW), status["level"]))
    tab = browser.tab()
    # As it was sent: nobody is there whom the script could hear.
    tab.before_scripts("window.EventSource = class { addEventListener() {} close() {} };")
    tab.before_scripts("window.setInterval = () => 0;")
    tab.open(page.as_uri())
    tab.run(AXE.read_text())
    for width in WIDTHS:
        for is_dark in (False, True):
            tab.look(width, 900, is_dark=is_dark)
            assert tab.run("document.documentElement.scrollWidth <= innerWidth"), width
            assert set(tab.run(BROKEN)) - {LONG_NAME, "<script>alert(1)<"} == set(), width
            if (width, is_dark) in ((WIDTHS[0], True), (WIDTHS[-1], False)):
                found = "axe.run().then(it => it.violations.map(v => [v.id, v.nodes[0].html]))"
                assert tab.run(found) == [], width
    browser.close_tabs()
