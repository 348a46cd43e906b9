import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcproxy.rules.answers import hints

# Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110
DATE = 784111777.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("99999999999999", 86400.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("soon", None),
        ("٣", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 30.0),
        ("Sun, 06 Nov 1994 08:49:60 GMT", 52.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        ("Mon, 06 Nov 2034 08:49:37 GMT", 86400.0),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Foo 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 0000 08:49:37 GMT", None),
        ("Sunday, 06-Nov-94 08:49:37 GMT", None),
    ],
)
def test_retry_after(header, seconds):
    assert hints.header_cooldown(header, DATE - 30) == seconds


@pytest.mark.parametrize(
    ("text", "data", "seconds"),
    [
        ("", None, None),
        ("", {"rate": {"backoff_seconds": 30, "allowed_rps": 10}}, 30.0),
        ("", {"rate": {"backoff_seconds": 0}}, 0.0),
        ("", {"rate": {"backoff_seconds": -1}}, None),
        ("", {"rate": {"backoff_seconds": True}}, None),
        ("", {"rate": {"backoff_seconds": float("nan")}}, None),
        ("", {"rate": {"backoff_seconds": float("inf")}}, None),
        ("", {"rate": {"backoff_seconds": 10**400}}, 86400.0),
        ("", {"rate": {"backoff_seconds": -(10**400)}}, None),
        ("", {"rate": 5}, None),
        ("", {"try_again_in": "1s"}, 1.0),
        ("", {"try_again_in": "850ms"}, 0.85),
        ("", {"try_again_in": "1m30s"}, 90.0),
        ("", {"try_again_in": "2.5"}, 2.5),
        ("", {"try_again_in": "later"}, None),
        ("", {"try_again_in": ["1s"]}, None),
        ("", {"retry_after": 4}, 4.0),
        ("", ["1s"], None),
        ("rate limit: try again in 3s", None, 3.0),
        ("please retry after 5 seconds.", None, 5.0),
        ("retry in 2 minutes", None, 120.0),
        ("try again in 1 hour", None, 3600.0),
        ("try again in 250 ms", None, 0.25),
        ("try again in 250 milliseconds", None, 0.25),
        ("try again in 9999999 hours", None, 86400.0),
        ("try again in a while", None, None),
        ("try again in 3 sheep", None, None),
        ("try again in 9s", {"try_again_in": "1s"}, 1.0),
    ],
)
def test_what_a_body_asks_for(text, data, seconds):
    assert hints.body_cooldown(text, data) == (
        seconds if seconds is None else pytest.approx(seconds)
    )


def test_a_daily_quota_ends_at_midnight_utc():
    day = 86400.0
    assert hints.seconds_to_midnight(10 * day + 86100.0) == 300.0
    assert hints.quota_cooldown(None, 86100.0, is_daily=True) == 300.0
    assert hints.quota_cooldown(None, 0.0, is_daily=True) == 600.0
    assert hints.quota_cooldown(None, 86100.0, is_daily=False) == 600.0
    assert hints.quota_cooldown(3000.0, 86100.0, is_daily=False) == 3000.0
    assert hints.quota_cooldown(3000.0, 86100.0, is_daily=True) == 300.0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        (" two\r\n  words\t", "two words"),
        ("see https://mainnet.infura.io/v3/abcdef now", "see (url) now"),
        ("key 0123456789abcdef0123 gone", "key … gone"),
        ("key 4e6f3a01-0000-4000-8000-00805f9b34fb gone", "key … gone"),
        ("host/v3/0123456789abcdef0123", "host/v3/…"),
        ("bell \x07 and \u202e turn", "bell and turn"),
        ("word " * 100, ("word " * 40)),
    ],
)
def test_what_people_are_told(text, told):
    said = hints.tell(text)
    assert " ".join(said.split()) == " ".join(told.split())
    assert said.isprintable()


@given(st.text(max_size=2000))
def test_no_key_and_no_url_is_told(text):
    told = hints.tell("wss://user:pass@host/secret " + text + " " + "a1" * 16)
    assert "secret" not in told.split(" ")[0]
    assert "a1" * 10 not in told
    assert len(told) <= hints.DETAIL_CHARACTERS
    assert told.isprintable()


@given(st.text(), st.floats())
def test_any_header_is_bounded(header, now):
    seconds = hints.header_cooldown(header, now)
    assert seconds is None or 0 <= seconds <= 86400


@given(
    st.text(),
    st.recursive(
        st.none() | st.floats() | st.integers() | st.text(),
        lambda i: st.dictionaries(st.sampled_from(["rate", "backoff_seconds", "try_again_in"]), i),
    ),
)
def test_any_body_is_bounded(text, data):
    seconds = hints.body_cooldown(text.lower(), data)
    assert seconds is None or 0 <= seconds <= 86400
