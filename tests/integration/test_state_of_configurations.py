"""Where state is kept, as people run it: by configuration, taken over, and where there is no disk."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rpcproxy.edges.disk.journal_file import JournalFile
from rpcproxy.edges.disk.journal_row import JournalRow, values_of
from tests.integration.running_proxy import NO_AUTHORITIES, ROOT
from tests.kits.sends_kit import signed
from tests.kits.waiting import LIMIT_SECONDS

CONFIG = """
server: {listen: 127.0.0.1:0, admin: 127.0.0.1:0}
chains:
  - {name: here, chain_id: 1, block_time: 1s, upstreams: [http://127.0.0.1:9]}
"""
NOBODY = 54_321  # a user without an entry in the password file

IS_ROOT = os.geteuid() == 0 and shutil.which("setpriv") is not None
needs_root = pytest.mark.skipif(not IS_ROOT, reason="another user's id needs root and setpriv")


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **NO_AUTHORITIES, **more}


def command(*words: str, is_nobody: bool = False) -> list[str]:
    """``is_nobody``: as a user who may read what Python is made of, wherever that is."""
    reading = "+dac_read_search"
    capabilities = [f"--inh-caps={reading}", f"--ambient-caps={reading}"]
    ids = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    prefix = ["setpriv", *ids, *capabilities] if is_nobody else []
    return [*prefix, sys.executable, "-m", "rpcproxy", *words]


@contextlib.contextmanager
def served(
    *words: str, env: Mapping[str, str], is_nobody: bool = False
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command("serve", *words, is_nobody=is_nobody),
        cwd="/",
        env=dict(env),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=LIMIT_SECONDS)


def until_line(process: subprocess.Popen[str], *patterns: str) -> str:
    """The log until each pattern was in a line of it."""
    assert process.stderr is not None
    wanted, log = [re.compile(pattern) for pattern in patterns], ""
    limit = threading.Timer(LIMIT_SECONDS, process.kill)
    limit.start()
    try:
        for line in process.stderr:
            log += line
            wanted = [pattern for pattern in wanted if not pattern.search(line)]
            if not wanted:
                return log
    finally:
        limit.cancel()
    raise AssertionError(f"it ended before it said {wanted}:\n{log}")


def written(path: Path, identity: str = "evm:1", nonces: int = 2) -> list[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = JournalFile(path, identity)
    transactions = [signed(nonce) for nonce in range(nonces)]
    rows = [
        JournalRow(tx.hash, bytes.fromhex(tx.raw[2:]), "0x" + "ab" * 20, nonce, 1.7e9, "sent")
        for nonce, tx in enumerate(transactions)
    ]
    file.write([values_of(row) for row in rows], [])
    file.close()
    return [tx.hash for tx in transactions]


def told(*words: str, env: Mapping[str, str], is_nobody: bool = False) -> tuple[int, str]:
    done = subprocess.run(
        command(*words, is_nobody=is_nobody),
        cwd="/",
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "a" / "proxy.yaml"
    path.parent.mkdir()
    path.write_text(CONFIG)
    for each in (tmp_path, path.parent):
        each.chmod(0o755)
    return path


def test_the_place_of_older_versions_is_taken_over(tmp_path: Path, config: Path) -> None:
    env = environment(XDG_STATE_HOME=str(tmp_path / "state"))
    older = tmp_path / "state" / "rpcproxy" / "journal" / "here.sqlite"
    hashes = written(older)
    code, before = told("tx", "list", "--json", "-c", str(config), env=env)
    assert code == 0
    assert all(hash in before for hash in hashes)
    with served("-c", str(config), env=env) as process:
        log = until_line(process, "2 pending transactions of here resumed")
    assert "was taken over from the place that all configurations shared" in log
    assert not older.exists()
    for words in ((), ("-c", str(config))):
        code, after = told("tx", "list", "--json", *words, env=env)
        assert code == 0
        assert all(hash in after for hash in hashes)
    # A second configuration has nothing of it, and is told.
    other = config.with_name("other.yaml")
    other.write_text(CONFIG)
    with served("-c", str(other), env=env) as process:
        log = until_line(process, f"2 pending transactions of here are in the state of {config}")
    assert "resumed" not in log
    # One that was renamed goes on with its own.
    other.unlink()
    moved = config.with_name("moved.yaml")
    config.rename(moved)
    with served("-c", str(moved), env=env) as process:
        log = until_line(process, "2 pending transactions of here resumed")
    assert f"taken over from {config}" in log


@needs_root
def test_a_user_without_a_home_is_served_without_a_disk(config: Path) -> None:
    env = environment()
    with served("-c", str(config), env=env, is_nobody=True) as process:
        log = until_line(
            process,
            "nothing is kept through a restart.*no home directory",
            "transactions cannot be written down.*no home directory",
            "serving here",
        )
    assert "Traceback" not in log
    for words in (("tx", "list"), ("report",), ("tx", "list", "-c", str(config))):
        code, said = told(*words, env=env, is_nobody=True)
        assert (code, "no home directory" in said) == (2, True), said
    code, said = told("check", "-c", str(config), env=env, is_nobody=True)
    assert code == 1, said


@pytest.mark.parametrize("kind", ["a file in the way", "read only"])
def test_a_place_that_cannot_be_used_is_said(kind: str, tmp_path: Path, config: Path) -> None:
    state = tmp_path / "state"
    is_nobody = kind == "read only"
    if is_nobody and not IS_ROOT:
        pytest.skip("another user's id needs root and setpriv")
    if is_nobody:
        state.mkdir(mode=0o555)
    else:
        state.write_text("in the way")
    env = environment(STATE_DIRECTORY=str(state))
    with served("-c", str(config), env=env, is_nobody=is_nobody) as process:
        log = until_line(
            process,
            "nothing is kept through a restart",
            "transactions cannot be written down",
            "serving here",
        )
    assert "Traceback" not in log
    for words in (("tx", "list"), ("report",)):
        code, said = told(*words, env=env, is_nobody=is_nobody)
        assert code == 2, said


@needs_root
def test_a_full_disk_is_said(tmp_path: Path, config: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(state)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        (state / "full").write_bytes(b"x" * 4096)
        with contextlib.suppress(OSError), (state / "full").open("ab") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        env = environment(STATE_DIRECTORY=str(state))
        with served("-c", str(config), env=env) as process:
            log = until_line(
                process, "transactions cannot be written down.*(full|space)", "serving here"
            )
        assert "Traceback" not in log
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)
