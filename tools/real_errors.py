"""Holds the error table against real nodes: ``python -m tools.real_errors``.

Installs pinned versions of geth (go), anvil and hardhat (npm) into a temporary folder, or into
``--keep DIR`` to use them again; starts one after the other on free ports of 127.0.0.1, asks what
``real_error_cases`` says, and takes the verdict through the proxy's own classifier. Prints version,
code, text and verdict of each, and ends with 1 where one differs from the table. ``--only NAME``
asks some (``--only geth-1.17.10``), ``--write`` keeps all answers for the unit test that needs no
node (``tests/unit/chains/evm/errors/real_errors.json``). Needs what the tests need, go and npm.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from rpcproxy.chains.evm.errors import EVM_ERRORS
from rpcproxy.chains.evm.methods import describe
from rpcproxy.messages import Reply, Verdict
from rpcproxy.rules.answers.classify import Classifier
from tools.real_error_cases import ANSWER, CASES, Case, Scene
from tools.real_nodes import Node, Trouble, names, running

KEPT: Final = Path(__file__).parents[1] / "tests/unit/chains/evm/errors/real_errors.json"
# Longer params are kept as their length: what is in them does not matter then.
LONGEST_PARAMS: Final = 1_000


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools.real_errors", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help=", ".join(names()))
    parser.add_argument("--keep", type=Path, metavar="DIR", help="install there, and use it again")
    parser.add_argument("--write", action="store_true", help=f"keep the answers in {KEPT.name}")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="real-errors-") as made:
        folder = (options.keep or Path(made)).resolve()
        records, differing = [], 0
        for name in options.only or names():
            try:
                with running(name, folder) as node:
                    found, wrong = _held(node)
            except Trouble as trouble:
                print(f"{name}: {trouble}", file=sys.stderr)
                return 2
            records += found
            differing += wrong
    if options.write and not differing:
        lines = ",\n".join(json.dumps(record, ensure_ascii=False) for record in records)
        KEPT.write_text(f"[\n{lines}\n]\n")
    print(f"{len(records)} errors, {differing} differ from the table")
    return 1 if differing else 0


def _held(node: Node) -> tuple[list[dict[str, Any]], int]:
    """The errors of one node, and how many answers differ from what is wanted."""
    scene = Scene(node)
    records, differing = [], 0
    for case in CASES:
        params = case.text(scene)
        status, body = node.ask(case.method, params)
        wanted = case.wanted_of(node).split("|")
        found = _verdict(case, params, status, body)
        mark = "  " if found in wanted else "≠ "
        error = json.loads(body).get("error", {}) if body[:1] == b"{" else {"message": str(body)}
        told = f"{error.get('code')} {str(error.get('message'))[:110]!r}" if error else "(result)"
        print(f"{mark}{node.name}: {case.name}: {told} → {found}")
        if found not in wanted:
            differing += 1
            print(f"  wanted {' or '.join(wanted)}", flush=True)
        if found != ANSWER:
            kept = params.decode() if len(params) <= LONGEST_PARAMS else len(params)
            records.append(
                {"node": node.name, "case": case.name, "method": case.method, "params": kept}
                | {"status": status, "body": body.decode()[:2000], "verdict": found}
            )
    return records, differing


def _verdict(case: Case, params: bytes, status: int, body: bytes) -> str:
    outcome = Reply(status, body)
    judgement = Classifier(EVM_ERRORS).judge(outcome, 1, describe(case.method), 0.0, params)
    # Null where there is nothing is an answer too; a refusal of the whole has no id of ours.
    if judgement.verdict is Verdict.OK or (b'"error"' not in body and status == 200):
        return ANSWER
    return judgement.verdict.label


if __name__ == "__main__":
    sys.exit(main())
