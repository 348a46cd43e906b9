"""Durations, rates, sizes, and what is said of wrong ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.config.problems import Unfit
from rpcproxy.config.reading.units import (
    duration_seconds,
    rate_per_hour,
    rate_per_second,
    size_bytes,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12s", 12.0),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        ("2m", 120.0),
        ("2min", 120.0),
        ("1h", 3600.0),
        ("0", 0.0),
        ("0s", 0.0),
        ("1_000 ms", 1.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("12", "x is '12', which has no unit; expected D; did you mean '12s'?"),
        ("1.5", "x is '1.5', which has no unit; expected D; did you mean '1.5s'?"),
        ("3 sec", "x is '3 sec', whose unit is not known; expected D; did you mean '3s'?"),
        ("3S", "x is '3S', whose unit is not known; expected D; did you mean '3s'?"),
        ("3d", "x is '3d', whose unit is not known; expected D"),
        ("-3s", "x is '-3s'; expected D"),
        ("", "x is ''; expected D"),
        (".inf", "x is '.inf'; expected D"),
        ("٣s", "x is '٣s'; expected D"),
        ("9000h", "x is '9000h', which is over a month; expected D"),
    ],
)
def test_wrong_durations(text: str, message: str) -> None:
    with pytest.raises(Unfit) as caught:
        duration_seconds(text)
    expected = "a duration such as 12s, 250ms, 1.5s, 2m or 1h"
    assert caught.value.about("x") == message.replace("expected D", f"expected {expected}")


@pytest.mark.parametrize(
    ("text", "per_second"),
    [
        ("100/s", 100.0),
        ("600/min", 10.0),
        ("600/m", 10.0),
        ("36_000 / hour", 10.0),
        ("1000000/h", 1000000 / 3600),
        ("864000/day", 10.0),
        ("0.5/sec", 0.5),
    ],
)
def test_rates(text: str, per_second: float) -> None:
    assert rate_per_second(text) == pytest.approx(per_second)
    assert rate_per_hour(text) == pytest.approx(per_second * 3600)


@pytest.mark.parametrize("count", range(1, 100))
def test_a_rate_per_hour_is_exact(count: int) -> None:
    assert rate_per_hour(f"{count}/h") == count


@pytest.mark.parametrize(
    ("text", "wrong", "meant"),
    [
        ("100", "is '100', which has no unit", "100/s"),
        ("100/fortnight", "is '100/fortnight', whose unit is not known", ""),
        ("0/s", "is '0/s', which lets nothing through", ""),
        ("fast", "is 'fast'", ""),
        ("1/s/s", "is '1/s/s'", ""),
    ],
)
def test_wrong_rates(text: str, wrong: str, meant: str) -> None:
    with pytest.raises(Unfit) as caught:
        rate_per_second(text)
    assert (caught.value.wrong, caught.value.meant) == (wrong, meant)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("5MiB", 5 * 1024**2), ("16 kib", 16384), ("2KB", 2000), ("1.5KiB", 1536)],
)
def test_sizes(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "wrong", "meant"),
    [
        ("5M", "is '5M', whose unit is not known", "5MiB"),
        ("5 bytes", "is '5 bytes', whose unit is not known", ""),
        ("0.5", "is '0.5', which is not a whole number of bytes", ""),
        ("2000GiB", "is '2000GiB', which is over a TiB", ""),
        ("MiB", "is 'MiB'", ""),
    ],
)
def test_wrong_sizes(text: str, wrong: str, meant: str) -> None:
    with pytest.raises(Unfit) as caught:
        size_bytes(text)
    assert (caught.value.wrong, caught.value.meant) == (wrong, meant)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (duration_seconds, rate_per_second, rate_per_hour, size_bytes):
        found: float | str
        try:
            found = read(text)
        except Unfit as unfit:
            found = unfit.expected
        assert found if isinstance(found, str) else found >= 0
