"""Where the output of a command goes nowhere, or cannot show everything; and places that are none."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from rpcproxy import cli

COMMANDS = (["schema"], ["completion", "bash"], ["check", "ethereum", "--offline"])


def output_to(descriptor: int, encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(descriptor, "w")), encoding=encoding)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_disk_is_told(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with output_to(os.open("/dev/full", os.O_WRONLY)) as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert cli.main(command) == 2
    assert "the output cannot be written: No space left" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_closed_output_is_told(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(command) == 2
    sys.stdout.close()
    assert "the output cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_reader_who_has_seen_enough_is_no_fault(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with output_to(write) as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert cli.main(command) == 0
    assert "Error" not in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_the_encoding_lacks_is_replaced(
    encoding: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "out"
    with output_to(os.open(file, os.O_WRONLY | os.O_CREAT), encoding) as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(SystemExit, match="0"):
            cli.main(["check", "--help"])
    assert b"ServiceTags_?.json" in file.read_bytes()


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x", "x" * 300])
@pytest.mark.parametrize("command", [["report", "--history"], ["tx", "list", "--journal"]])
def test_a_place_that_is_none(
    command: list[str], path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, path]) == 2
    told = capsys.readouterr()
    assert "home directory" in told.err or "cannot be read: File name too long" in told.err
    assert told.out == ""


def test_a_directory_of_another_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def is_file(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", is_file)  # root may look anywhere
    assert cli.main(["report", "--history", str(tmp_path)]) == 2
    assert "cannot be read: Permission denied" in capsys.readouterr().err
