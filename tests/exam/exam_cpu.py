"""CPU per request stays within its bounds beside HAProxy in the same run (a third is granted).
HAProxy is the control.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.exam.judging import Sheet, judged, why_cpu_not_judged

ROOT: Final = Path(__file__).resolve().parents[2]
# Interleaved rounds: a busy neighbour spoils one of them, not the median.
ROUNDS: Final = 5
_RATIO = re.compile(r"\d+\.\d+ \(\d+\.\d+–\d+\.\d+\)")
_DIFFERENCE = re.compile(r"HAProxy's own cost differed by (\d+)%")
_TROUBLE = re.compile(r"^Stopped: (?:haproxy|the load was outrun).*", re.MULTILINE)


@pytest.mark.timeout(600)
def test_forwarding_costs_no_more_than_its_bound(
    require_tool: Callable[[str], str], sheet: Sheet
) -> None:
    require_tool("haproxy")
    require_tool("wrk")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", f"--rounds={ROUNDS}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    sheet.note(words="CPU of HAProxy: " + "; ".join(_RATIO.findall(done.stdout)))
    differences = [int(percent) / 100 for percent in _DIFFERENCE.findall(done.stdout)]
    trouble = _TROUBLE.search(done.stderr)
    with judged(sheet, lambda: why_cpu_not_judged(differences, trouble[0] if trouble else "")):
        assert done.returncode == 0, done.stdout + done.stderr
        assert differences, "nothing says how steady the machine was"
