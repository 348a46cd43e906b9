"""What a command imports: by names, and not by seconds. Each start pays for all of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.kits.waiting import LIMIT_SECONDS

# Of the standard library: what takes long by itself, and what only a network or a disk has use for.
HEAVY = {"asyncio", "concurrent", "email", "http", "multiprocessing", "socket", "sqlite3", "ssl"}
# What serving has no use for, or only where a configuration asks for it.
NOT_TO_SERVE = (
    *("aiohttp_socks", "matplotlib", "multiprocessing", "opentelemetry", "rich", "shtab"),
    *("python_socks.async_", "python_socks.sync"),
    *("rpcproxy.drills", "rpcproxy.app.checkup", "rpcproxy.app.people.report_card"),
    *("rpcproxy.edges.traces", "rpcproxy.edges.cloud_ranges", "rpcproxy.config.json_schema"),
)


def imported(code: str) -> set[str]:
    """The modules that a process has after ``code``, but for those that Python starts with."""
    lines = [
        "import sys",
        "first = set(sys.modules)",
        code,
        "print(*sys.modules.keys() - first, file=sys.stderr)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        check=True,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    return set(done.stderr.split())


def parsed(*words: str) -> str:
    """What ``main`` does before it loads the command."""
    return "\n".join(
        [
            "import contextlib, rpcproxy.cli",
            "with contextlib.suppress(SystemExit):",
            f"    rpcproxy.cli._parser().parse_args({words!r})",
        ]
    )


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    "words",
    [
        *(("--version",), ("--help",), ("serve", "--help"), ("check", "--help"), ("serve", "base")),
        *(("tx", "list"), ("report",), ("init",), ("top",), ("demo",), ("completion", "bash")),
    ],
    ids=" ".join,
)
def test_options_are_read_with_next_to_nothing(words: tuple[str, ...]) -> None:
    names = imported(parsed(*words))
    assert tops(names) - sys.stdlib_module_names == {"rpcproxy"}
    assert sorted(tops(names) & HEAVY) == []
    assert [name for name in names if name.startswith("rpcproxy.commands.runs")] == []


def test_serving_imports_nothing_of_other_commands() -> None:
    names = imported("import rpcproxy.commands.serve as serve; serve.load()")
    assert "rpcproxy.app.proxy" in names
    assert sorted(name for name in names if name.startswith(NOT_TO_SERVE)) == []
    runs = {name for name in names if name.startswith("rpcproxy.commands.runs.")}
    assert runs == {"rpcproxy.commands.runs.serve_run"}


@pytest.mark.parametrize("proxy", ["", "socks5://127.0.0.1:1"])
def test_a_webhook_loads_what_its_outbound_proxy_needs_before_it_tells_anything(proxy: str) -> None:
    code = f"from rpcproxy.edges.webhook import Webhook; Webhook('http://a.test', proxy={proxy!r})"
    assert ("aiohttp_socks" in imported(code)) == bool(proxy)
