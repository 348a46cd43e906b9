"""Range files as clouds publish them (shortened), and what addresses are guessed by them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rpcproxy.edges.cloud_ranges import CloudRanges, Guess, RangesError

AWS = {
    "syncToken": "1",
    "prefixes": [
        {"ip_prefix": "3.5.0.0/16", "region": "GLOBAL", "service": "AMAZON"},
        {"ip_prefix": "3.5.140.0/22", "region": "ap-northeast-2", "service": "AMAZON"},
        {"ip_prefix": "13.32.0.0/15", "region": "GLOBAL", "service": "CLOUDFRONT"},
        {"ip_prefix": "52.4.0.0/14", "region": "GLOBAL", "service": "AMAZON"},
        {"ip_prefix": "52.4.0.0/14", "region": "us-east-1", "service": "EC2"},
    ],
    "ipv6_prefixes": [{"ipv6_prefix": "2600:1f18::/33", "region": "us-east-1", "service": "EC2"}],
}
GOOGLE = {
    "syncToken": "1",
    "prefixes": [
        {"ipv4Prefix": "34.80.0.0/15", "service": "Google Cloud", "scope": "asia-east1"},
        {"ipv6Prefix": "2600:1900:4030::/44", "service": "Google Cloud", "scope": "global"},
        {"ipv4Prefix": "8.8.4.0/24"},
    ],
}
AZURE = {
    "changeNumber": 1,
    "cloud": "Public",
    "values": [
        {"name": "AzureCloud", "properties": {"region": "", "addressPrefixes": ["20.0.0.0/11"]}},
        {
            "name": "AzureCloud.westeurope",
            "properties": {
                "region": "westeurope",
                "addressPrefixes": ["20.4.0.0/18", "2603:1020:200::/47"],
            },
        },
        {"name": "odd"},
    ],
}
CLOUDFLARE = "173.245.48.0/20\n103.21.244.0/22\n"
CLOUDFLARE_API = {
    "result": {"ipv4_cidrs": ["173.245.48.0/20"], "ipv6_cidrs": ["2400:cb00::/32"]},
    "success": True,
}
GEOFEED = """# prefix,country,region,city,postal
5.9.0.0/16,DE,DE-SN,Falkenstein,
95.216.0.0/16,FI,,Helsinki City,
"2a01:4f8::/32",DE,,,
not a network,XX,,,
"""
RANGES = "# netname OVH\n51.68.0.0 - 51.68.255.255\n2001:41d0::/32\n"
RIPESTAT = {"data": {"prefixes": [{"prefix": "5.9.0.0/16"}, {"prefix": "2a01:4f8::/32"}]}}


def written(directory: Path, name: str, content: Any) -> str:
    path = directory / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    ("name", "content", "address", "guess"),
    [
        ("ip-ranges.json", AWS, "3.5.140.7", Guess("aws", "ap-northeast-2")),
        ("ip-ranges.json", AWS, "3.5.1.1", Guess("aws", "unknown")),
        ("ip-ranges.json", AWS, "13.33.0.1", Guess("aws", "unknown")),
        ("ip-ranges.json", AWS, "52.5.0.1", Guess("aws", "us-east-1")),
        ("ip-ranges.json", AWS, "2600:1f18::1", Guess("aws", "us-east-1")),
        ("ip-ranges.json", AWS, "2600:1f18:8000::1", None),
        ("ip-ranges.json", AWS, "9.9.9.9", None),
        ("ip-ranges.json", AWS, "no address", None),
        ("cloud.json", GOOGLE, "34.81.2.3", Guess("gcp", "asia-east1")),
        ("cloud.json", GOOGLE, "2600:1900:4030::5", Guess("gcp", "unknown")),
        ("goog.json", GOOGLE, "8.8.4.4", Guess("gcp", "unknown")),
        ("ServiceTags_Public_20261102.json", AZURE, "20.4.1.1", Guess("azure", "westeurope")),
        ("ServiceTags_Public_20261102.json", AZURE, "20.9.1.1", Guess("azure", "unknown")),
        ("x.json", AZURE, "2603:1020:201::1", Guess("azure", "westeurope")),
        ("ips-v4", CLOUDFLARE, "173.245.50.1", Guess("cloudflare", "unknown")),
        ("ips-v4.txt", CLOUDFLARE, "103.21.247.255", Guess("cloudflare", "unknown")),
        ("any.json", CLOUDFLARE_API, "2400:cb00::1", Guess("cloudflare", "unknown")),
        ("hetzner.csv", GEOFEED, "5.9.1.1", Guess("hetzner", "falkenstein")),
        ("hetzner.csv", GEOFEED, "95.216.1.1", Guess("hetzner", "helsinki-city")),
        ("hetzner.csv", GEOFEED, "2a01:4f8::1", Guess("hetzner", "de")),
        ("OVH-ranges.txt", RANGES, "51.68.200.1", Guess("ovh", "unknown")),
        ("OVH-ranges.txt", RANGES, "2001:41d0::1", Guess("ovh", "unknown")),
        ("hetzner.json", RIPESTAT, "5.9.200.1", Guess("hetzner", "unknown")),
    ],
)
def test_guesses(
    tmp_path: Path, name: str, content: Any, address: str, guess: Guess | None
) -> None:
    assert CloudRanges.read([written(tmp_path, name, content)]).guess(address) == guess


def test_several_files_and_the_smallest_network(tmp_path: Path) -> None:
    files = [
        written(tmp_path, "ip-ranges.json", AWS),
        "leaseweb=" + written(tmp_path, "list", "3.5.140.128/25\n"),
    ]
    ranges = CloudRanges.read(files)
    assert ranges.guess("3.5.140.200") == Guess("leaseweb", "unknown")
    assert ranges.guess("3.5.140.1") == Guess("aws", "ap-northeast-2")
    assert len(ranges) == 6


def test_a_name_given_wins_over_the_name_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "hetzner.txt", "5.9.0.0/16\n")
    assert CloudRanges.read([f"Mine={file}"]).guess("5.9.0.1") == Guess("mine", "unknown")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("list.txt", "5.9.0.0/16\n", "does not say whose networks these are"),
        ("prefixes.json", RIPESTAT, "--cloud-ranges hetzner=prefixes.json"),
        ("ovh.txt", "<html>\n", "no networks in it that are understood"),
        ("ip-ranges.json", "{oops", "is no JSON text"),
        ("ip-ranges.json", {"values": 1}, "no networks"),
        ("ip-ranges.json", [1], "no networks"),
        ("ip-ranges.json", {"prefixes": [1, {"ip_prefix": 7}]}, "no networks"),
        ("ovh.txt", "", "no networks"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: Any, words: str) -> None:
    with pytest.raises(RangesError, match=r"^/") as caught:
        CloudRanges.read([written(tmp_path, name, content)])
    assert words in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RangesError, match="cannot be read: No such file"):
        CloudRanges.read([str(tmp_path / "none")])
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(RangesError, match="not UTF-8 text"):
        CloudRanges.read([str(tmp_path / "latin")])
    with pytest.raises(RangesError, match="larger than any range file"):
        CloudRanges.read([written(tmp_path, "ips-v4", CLOUDFLARE)], most_bytes=10)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("/dev/zero", "is no file"),
        ("~nobody-of-this-name/x", "no home directory"),
        ("aws=~nobody-of-this-name/x", "no home directory"),
        ("x" * 300, "cannot be read"),
        ("aws=" + "x" * 300, "cannot be read"),
    ],
)
def test_what_is_no_file_is_refused_in_words(file: str, words: str) -> None:
    with pytest.raises(RangesError, match=words):
        CloudRanges.read([file])


def test_a_pipe_of_the_shell_is_read() -> None:
    read, write = os.pipe()
    os.write(write, b"5.9.0.0/16\n")
    os.close(write)
    try:
        ranges = CloudRanges.read([f"hetzner=/dev/fd/{read}"])
    finally:
        os.close(read)
    assert ranges.guess("5.9.1.1") == Guess("hetzner", "unknown")
    assert ranges.notes == []


def test_a_pipe_without_end_is_read_no_further_than_a_file() -> None:
    read, write = os.pipe()
    os.write(write, b"5.9.0.0/16\n")  # its writer stays
    try:
        with pytest.raises(RangesError, match="larger than any range file"):
            CloudRanges.read([f"hetzner=/dev/fd/{read}"], most_bytes=8)
    finally:
        os.close(read)
        os.close(write)


def test_lines_that_were_left_out_are_told(tmp_path: Path) -> None:
    ranges = CloudRanges.read([written(tmp_path, "hetzner.csv", GEOFEED)])
    (note,) = ranges.notes
    assert "hetzner.csv: 1 of 5 lines hold no network" in note
    assert "the first is line 5" in note
