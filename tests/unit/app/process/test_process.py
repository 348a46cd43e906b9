"""The process: standard streams, file limit, certificates."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from rpcproxy.app.process.process import check_certificate, raise_file_limit, room_for_clients
from rpcproxy.config.model import Server, Tls
from rpcproxy.config.problems import ConfigError
from tests.kits.waiting import LIMIT_SECONDS


def server_with(certificate: Path, key: Path) -> Server:
    return Server(tls=Tls(certificate=str(certificate), key=str(key)))


def test_a_certificate_that_fits_is_taken(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("localhost")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    check_certificate(server_with(chain, key))
    check_certificate(Server())


def test_a_certificate_that_is_missing_or_wrong_is_said_in_words(tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    with pytest.raises(ConfigError, match=r"server\.tls\.certificate: .* cannot be read"):
        check_certificate(server_with(chain, key))
    chain.write_text("no certificate")
    key.write_text("no key")
    with pytest.raises(ConfigError, match=r"server\.tls: .* do not fit together"):
        check_certificate(server_with(chain, key))


def test_the_soft_file_limit_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("files", "clients"), [(64, 12), (256, 108), (1024, 492), (1_048_576, 524_268)]
)
def test_clients_leave_files_for_upstreams_and_journals(
    files: int, clients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert room_for_clients(1, 8) == clients


def test_where_files_are_not_limited_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (unlimited, unlimited))
    assert room_for_clients(1, 8) is None


def test_closed_standard_streams_do_no_harm() -> None:
    """Without them libuv would end the process at its first pipe."""
    code = (
        "import os\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        "from rpcproxy.app.process.standard_streams import open_standard_streams\n"
        "open_standard_streams()\n"
        "import uvloop\n"
        "async def main(): pass\n"
        "uvloop.run(main())\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, timeout=LIMIT_SECONDS).returncode
        == 0
    )
