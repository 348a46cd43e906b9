"""``rpcproxy check`` as it is typed: options, exit codes, what is told without asking anybody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rpcproxy import cli
from rpcproxy.app.checkup.asking import AskSettings
from rpcproxy.app.checkup.inspection import BATCH_CALLS, LATENCY_QUESTIONS, MOST_CALLS
from rpcproxy.chains.evm.survey_questions import LOG_BLOCKS, MULTICALL_BYTES
from rpcproxy.commands.check import EPILOG, _epilog
from rpcproxy.rules.telling.survey import HISTORY_STEPS
from tests.kits.pages import DOCS

KEY = "0123456789abcdef0123456789abcdef"
TWO = """
chains:
  - name: ethereum
    {}
    upstreams:
      - {{name: a, url: 'https://203.0.113.7/{}', provider: x, cloud: {}}}
      - {{name: b, url: 'https://203.0.113.8/{}', provider: y, cloud: {}}}
"""


def written(directory: Path, chain: str = "", clouds: tuple[str, str] = ("aws", "gcp")) -> str:
    file = directory / "config.yaml"
    file.write_text(TWO.format(chain, KEY, clouds[0], KEY, clouds[1]))
    return str(file)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["check", *arguments])
    told = capsys.readouterr()
    assert KEY not in told.out + told.err
    return code, told.out, told.err


def test_offline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--offline", "-c", written(tmp_path))
    assert (code, err) == (0, "")
    assert "the configuration is valid" in out
    assert "leaves b: 50% of the capacity" in out
    assert "calls" not in out


def test_a_single_point_of_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, clouds=("aws", "aws"))
    code, out, _ = run(capsys, "--offline", "-c", file)
    assert code == 1
    words = "every upstream that serves reads is on cloud aws: when it fails, nobody can serve"
    assert f"single point of failure: {words}" in out
    assert "accept_single_point: true accepts" in out
    # Told once: the configuration warns of the same.
    assert "when that cloud goes down" not in out
    accepted = written(tmp_path, "accept_single_point: true", ("aws", "aws"))
    code, out, _ = run(capsys, "--offline", "-c", accepted)
    assert (code, f"accepted: {words}" in out) == (0, True)


def test_offline_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--offline", "--json", "-c", written(tmp_path, clouds=("a", "a")))
    told = json.loads(out)
    (chain,) = told["chains"]
    assert (code, told["ok"], told["is_offline"], chain["ok"]) == (1, False, True, False)
    assert [point["kind"] for point in chain["capacity"]["single_points"]] == ["cloud"]
    assert [share["share"] for share in chain["capacity"]["shares"]] == [1.0, 0.5, 0.5]
    assert chain["upstreams"][0]["found"] is None


def test_guesses_of_clouds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranges = tmp_path / "list.txt"
    ranges.write_text("203.0.113.0/24\n")
    file = written(tmp_path, clouds=("unknown", "gcp"))
    code, out, _ = run(capsys, "--offline", "-c", file, "--cloud-ranges", f"hetzner={ranges}")
    assert (code, "hetzner (a guess)" in out) == (0, True)
    assert "b is configured on gcp, and its address looks like hetzner" in out
    file = written(tmp_path, clouds=("unknown", "unknown"))
    code, out, _ = run(capsys, "-c", file, "--offline", "--cloud-ranges", f"hetzner={ranges}")
    assert (code, "cloud hetzner" in out) == (1, True)
    assert "(a guess from address ranges)" in out
    code, _, err = run(capsys, "--offline", "-c", file, "--cloud-ranges", str(ranges))
    assert (code, "does not say whose networks these are" in err) == (2, True)


def test_what_the_user_can_mend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys)[0] == 2
    assert run(capsys, "ethereum", "-c", "x.yaml")[0] == 2
    assert "no such file" in run(capsys, "-c", str(tmp_path / "none"))[2]
    code, _, err = run(capsys, "--offline", "-c", written(tmp_path, "chain_idd: 1"))
    assert (code, "did you mean 'chain_id'" in err) == (2, True)
    certificate = tmp_path / "tls.yaml"
    certificate.write_text(
        f"server: {{tls: {{certificate: {tmp_path}/no.pem, key: {tmp_path}/no.key}}}}\n"
        + Path(written(tmp_path)).read_text()
    )
    code, _, err = run(capsys, "--offline", "-c", str(certificate))
    assert (code, "is not there or cannot be read" in err) == (2, True)


def test_known_chains_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "ethereum", "base", "--offline")
    assert code == 0
    assert "ethereum (chain 1)" in out
    assert "base (chain 8453)" in out
    assert run(capsys, "etherium", "--offline")[0] == 2


def test_the_cost_is_told_as_it_is() -> None:
    told = " ".join(_epilog().split())
    assert f"At most {MOST_CALLS} calls of each upstream" in told
    assert f"At most {AskSettings().total_seconds:g} s in all" in told
    assert f"median of {LATENCY_QUESTIONS} questions" in told
    assert f"a search for logs over {LOG_BLOCKS:,} blocks" in told
    assert f"a multicall of {MULTICALL_BYTES >> 10} KB" in told
    assert all(len(line) <= 100 for line in EPILOG.splitlines())


def test_the_page_tells_the_same() -> None:
    page = " ".join(DOCS["check.md"].split())
    assert f"At most {MOST_CALLS} calls of each" in page
    assert f"longer than {AskSettings().total_seconds:g} s" in page
    assert f"| `eth_blockNumber` | {LATENCY_QUESTIONS} |" in page
    assert f"| a batch | {BATCH_CALLS} |" in page
    assert f"| `eth_getBalance` | up to {HISTORY_STEPS} |" in page
