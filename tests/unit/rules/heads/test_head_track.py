from rpcproxy.messages import Head
from rpcproxy.rules.heads.head_track import HeadTrack


def test_growing_heads_are_relied_on_at_once() -> None:
    track = HeadTrack()
    assert (track.number, track.low_water, track.head) == (-1, -1, None)
    for number in (100, 101, 101, 105):
        track.report(Head(number), float(number))
    assert (track.number, track.low_water) == (105, 105)
    assert track.moved_at == 105.0


def test_several_machines_behind_one_url_lower_the_mark() -> None:
    track = HeadTrack()
    for now, number in enumerate([100, 97, 101, 100]):
        track.report(Head(number), float(now))
    assert (track.number, track.low_water) == (101, 98)
    for now in range(4, 12):
        track.report(Head(101), float(now))
    assert track.low_water == 100  # the fall by three left the last ten reports
    track.report(Head(101), 12.0)
    assert track.low_water == 101


def test_a_head_that_is_gone_from_the_last_ten_reports_is_forgotten() -> None:
    track = HeadTrack()
    track.report(Head(1100), 0.0)
    for now in range(1, 11):
        track.report(Head(100), float(now))
    assert (track.number, track.low_water, track.moved_at) == (100, 100, 10.0)


def test_the_latest_of_two_hashes_is_kept() -> None:
    track = HeadTrack()
    track.report(Head(5, "0xa"), 0.0)
    assert track.report(Head(5, "0xb"), 1.0)
    assert not track.report(Head(5, "0xb"), 1.0)
    assert track.head == track.last == Head(5, "0xb")
    assert not track.report(Head(-1), 2.0)
    assert track.still_seconds() == 1.0
    assert track.copy().head == track.head
    assert HeadTrack().still_seconds() == 0.0


def test_the_last_report_is_kept_apart_from_the_highest() -> None:
    track = HeadTrack()
    track.report(Head(10, "0xa"), 0.0)
    assert track.report(Head(8, "0xb"), 1.0)
    assert (track.head, track.last) == (Head(10, "0xa"), Head(8, "0xb"))
    twin = track.copy()
    twin.report(Head(12), 2.0)
    assert (track.number, twin.number) == (10, 12)


def test_safe_and_finalized_stay_until_others_are_told() -> None:
    track = HeadTrack()
    assert track.report_anchors((Head(3), Head(5)))
    assert not track.report_anchors(())
    assert track.anchors == (Head(3), Head(5))
    assert track.report_anchors((Head(4), None))
    assert track.anchors == (Head(4), Head(5))
