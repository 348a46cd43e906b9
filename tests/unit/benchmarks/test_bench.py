"""The benchmark's own arithmetic, and the upstream that it measures against."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import age, cases, contenders, figures, load, procfs, report, stub
from tests.kits.waiting import LIMIT_SECONDS

MIB = figures.MIB


class TestFigures:
    def test_a_ratio_is_taken_round_by_round(self) -> None:
        # The machine was twice as slow in the second round, for both.
        found = figures.ratio([15.0, 32.0, 14.0], [10.0, 20.0, 10.0])
        assert found == figures.Ratio(median=1.5, low=1.4, high=1.6)
        assert found.spread == pytest.approx(0.2 / 1.5)
        assert str(found) == "1.50 (1.40–1.60)"

    def test_rounds_must_match(self) -> None:
        with pytest.raises(ValueError, match="shorter"):
            figures.ratio([1.0, 2.0], [1.0])

    @pytest.mark.parametrize(
        ("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.995, 100), (1.0, 100)]
    )
    def test_percentile_of_one_to_hundred(self, share: float, expected: float) -> None:
        assert figures.percentile(range(100, 0, -1), share) == expected

    def test_percentile_of_one_value(self) -> None:
        assert figures.percentile([7.0], 0.99) == 7.0

    def test_a_line_is_found_and_small_sizes_count(self) -> None:
        sizes = [1, 10, 100, 1000]
        found = figures.line(sizes, [20 + 3 * size for size in sizes])
        assert found.fixed == pytest.approx(20)
        assert found.per_unit == pytest.approx(3)
        assert found.worst == pytest.approx(0, abs=1e-9)

    def test_a_square_is_not_taken_for_a_line(self) -> None:
        sizes = [1, 10, 100, 1000]
        assert figures.line(sizes, [20 + size**2 for size in sizes]).worst > 0.5

    def test_one_size_has_no_slope(self) -> None:
        assert figures.line([5, 5], [7.0, 7.0]) == figures.Line(7.0, 0.0, 0.0)

    def test_ticks_of_a_process_with_an_odd_name(self) -> None:
        stat = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 0 0 0 1200 34 5 6 20 0 3 0 99"
        assert figures.cpu_ticks(stat) == 1234
        assert figures.parent_pid(stat) == 7

    def test_status_lines(self) -> None:
        status = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n"
        assert figures.status_bytes(status, "VmRSS") == MIB
        assert figures.status_bytes(status, "VmHWM") == 2 * MIB
        with pytest.raises(KeyError):
            figures.status_bytes(status, "VmSwap")

    @pytest.mark.parametrize(
        ("count", "text"), [(12, "12 B"), (1536, "1.5 KiB"), (64 * MIB, "64 MiB")]
    )
    def test_bytes_in_words(self, count: float, text: str) -> None:
        assert figures.bytes_text(count) == text


class TestProcfs:
    def test_our_own_process(self) -> None:
        pids = procfs.tree(os.getpid())
        assert pids[0] == os.getpid()
        assert procfs.cpu_seconds(pids[:1]) > 0
        assert MIB < procfs.memory_bytes(pids[:1]) <= procfs.peak_memory_bytes(pids[:1])

    def test_a_process_that_is_not(self) -> None:
        with pytest.raises(ProcessLookupError):
            procfs.tree(2**22 + 1)  # above the kernel's largest process id


class TestLoad:
    def test_the_last_json_line_of_wrk_counts(self) -> None:
        told = {"requests": 8, "microseconds": 2_000_000, "bytes": 9, "errors": 1}
        told |= {"p50_us": 250, "p99_us": 4000}
        found = load.parse_wrk(f'Running\n{{"no": "this"}}\n{json.dumps(told)}\n')
        assert found == load.Closed(8, 2.0, 1, 0.00025, 0.004)

    def test_wrk_without_figures(self) -> None:
        with pytest.raises(load.LoadFailed, match="unable to connect"):
            load.parse_wrk("unable to connect to 127.0.0.1\n")

    def test_content_length(self) -> None:
        assert load.content_length(b"HTTP/1.1 200 OK\r\ncontent-length: 12") == 12
        with pytest.raises(load.LoadFailed):
            load.content_length(b"HTTP/1.1 200 OK\r\nX: 1")

    def test_only_http_urls(self) -> None:
        with pytest.raises(load.LoadFailed, match="only http"):
            load.Client("https://localhost:1/")

    def test_each_run_asks_what_no_other_asked(self) -> None:
        salts = {load.salt() for _ in range(100)}
        assert len(salts) == 100
        assert all(len(bytes.fromhex(salt)) == 8 for salt in salts)

    @pytest.mark.parametrize(
        ("case", "size", "are_different"),
        [
            ("balance", 1, True),
            ("balance", 3, True),
            ("answer", 64, True),
            ("question", 64, True),
            ("kept", 1, False),
        ],
    )
    async def test_forwarded_questions_are_all_different(
        self, require_tool: Callable[[str], str], case: str, size: int, are_different: bool
    ) -> None:
        require_tool("wrk")
        asked: list[str] = []

        class Noting(stub.Replies):
            def reply(self, body: bytes) -> bytes | list[bytes]:
                calls = json.loads(body)
                members = calls if isinstance(calls, list) else [calls]
                asked.extend(str(call["params"]) for call in members)
                return super().reply(body)

        replies = Noting()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: stub.Plain(replies), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        requests = 0
        async with asyncio.timeout(LIMIT_SECONDS):
            while requests <= 100:  # a busy machine may need more than one load
                done = await asyncio.to_thread(load.closed_loop, url, case, size, seconds=0.2)
                assert done.errors == 0
                requests += done.requests
        server.close()
        assert replies.count == len(asked) >= requests
        if are_different:
            assert len(set(asked)) == len(asked)
        else:
            assert len(set(asked)) == 32


class TestMisdirected:
    """Whether requests went where they ought to."""

    @pytest.mark.parametrize(
        ("case", "size", "calls"),
        [
            ("balance", 1, 1.0),
            ("balance", 10, 10.1),
            ("answer", 1024, 1.0),
            ("chain_id", 1, 0.0),
            ("kept", 1, 0.001),
        ],
    )
    def test_as_they_ought_to(self, case: str, size: int, calls: float) -> None:
        assert cases.misdirected(case, size, calls) is None

    @pytest.mark.parametrize(
        ("case", "size", "calls", "why"),
        [
            ("balance", 1, 0.9, "not 1: something else answered"),
            ("balance", 10, 9.0, "not 10: something else answered"),
            ("question", 4096, 0.0, "not 1: something else answered"),
            ("kept", 1, 1.0, "answers were not kept"),
        ],
    )
    def test_otherwise_it_is_said(self, case: str, size: int, calls: float, why: str) -> None:
        assert why in (cases.misdirected(case, size, calls) or "")


class TestReplies:
    def test_ids_are_echoed_exactly(self) -> None:
        for id_ in (b"1", b'"a\\"b"', b"1.50", b"null", b"18446744073709551616"):
            body = b'{"jsonrpc":"2.0","id":%b,"method":"eth_getBalance","params":[]}' % id_
            reply = stub.Replies().reply(body)
            assert isinstance(reply, bytes)
            assert reply.startswith(b'{"jsonrpc":"2.0","id":%b,"result":"0x' % id_)

    def test_a_batch_has_one_reply_each_and_each_is_counted(self) -> None:
        replies = stub.Replies()
        calls = [{"id": number, "method": "eth_getBalance"} for number in range(3)]
        reply = replies.reply(json.dumps(calls).encode())
        assert isinstance(reply, bytes)
        assert [one["id"] for one in json.loads(reply)] == [0, 1, 2]
        assert json.loads(_joined(replies, "bench_count"))["result"] == 3

    @pytest.mark.parametrize("size", [0, 64, 300 * 1024])
    def test_an_answer_has_the_size_asked_for(self, size: int) -> None:
        body = _joined(stub.Replies(), "eth_call", [{"data": f"0x{size:064x}"}])
        assert len(json.loads(body)["result"]) == len("0x") + size

    def test_the_id_may_follow_megabytes_of_params(self) -> None:
        data = f"0x{64:064x}" + "0" * MIB
        call = {"method": "eth_call", "params": [{"data": data}], "id": 77}
        parts = stub.Replies().reply(json.dumps(call).encode())
        assert isinstance(parts, list)
        assert json.loads(b"".join(parts))["id"] == 77

    def test_blocks_are_linked(self) -> None:
        replies = stub.Replies()
        first = json.loads(_joined(replies, "eth_getBlockByNumber", ["0x10", False]))["result"]
        second = json.loads(_joined(replies, "eth_getBlockByNumber", ["0x11", False]))["result"]
        assert second["parentHash"] == first["hash"]
        head = json.loads(_joined(replies, "eth_blockNumber"))["result"]
        latest = json.loads(_joined(replies, "eth_getBlockByNumber", ["latest", False]))["result"]
        assert 0 <= int(latest["number"], 16) - int(head, 16) <= 1

    def test_the_chain_id_is_the_configured_one(self) -> None:
        assert json.loads(_joined(stub.Replies(), "eth_chainId"))["result"] == hex(stub.CHAIN_ID)


def _joined(replies: stub.Replies, method: str, params: list[object] | None = None) -> bytes:
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or []}
    reply = replies.reply(json.dumps(call).encode())
    return reply if isinstance(reply, bytes) else b"".join(reply)


class TestFramer:
    REQUEST = b'POST / HTTP/1.1\r\ncontent-length: 36\r\n\r\n{"id":5,"method":"eth_getBalance"   }'

    @pytest.mark.parametrize("step", [1, 7, 50, 1000])
    def test_pipelined_requests_in_pieces(self, step: int) -> None:
        written: list[stub.Written] = []
        framer = stub.Framer(stub.Replies())
        stream = self.REQUEST * 3
        for start in range(0, len(stream), step):
            framer.on_bytes(stream[start : start + step], written.append)
        assert len(written) == 3
        for response in written:
            assert isinstance(response, bytes)
            head, _, body = response.partition(b"\r\n\r\n")
            assert load.content_length(head) == len(body)
            assert json.loads(body)["id"] == 5


class TestStubProcess:
    @pytest.fixture
    def stage(self, tmp_path: Path) -> contenders.Stage:
        return contenders.Stage(tmp_path, procfs.Cores())

    def test_plain_and_tls_answer_and_large_answers_arrive_whole(
        self, stage: contenders.Stage
    ) -> None:
        with contenders.upstreams(stage, plain=2, tls=1) as up:
            url = f"http://127.0.0.1:{up.plain[1]}/"
            latencies = load.open_loop(url, rate=200, seconds=0.1, connections=2)
            assert len(latencies) == 20
            assert up.answered() == 20
            size = 2 * MIB
            received = load.slow_readers(url, count=3, size=size, slow_seconds=0.1)
            assert received > 3 * size
            trust = ssl.create_default_context(cafile=str(up.authority))
            call = b'{"id":9,"method":"eth_call","params":[{"data":"0x%064x"}]}' % size
            request = urllib.request.Request(f"https://localhost:{up.tls[0]}/", data=call)
            with urllib.request.urlopen(request, context=trust) as response:
                assert len(json.load(response)["result"]) == size + len("0x")

    def test_a_contender_that_ends_at_once_says_why(self, stage: contenders.Stage) -> None:
        complaint = ["sh", "-c", "echo the reason; exit 3"]
        with stage.run(complaint, "broken") as process:
            process.wait(LIMIT_SECONDS)
            with pytest.raises(contenders.CannotStart, match="the reason"):
                stage.await_answer("broken", "http://127.0.0.1:1/", process)


class TestReport:
    def row(self, case: str, micros: list[float], name: str = "rpcproxy") -> cases.Row:
        runs = [cases.Run(one, 1000, 500.0, 1.0) for one in micros]
        row = cases.Row(name, case, runs)
        row.ratio = row.ratio_plain = figures.ratio(micros, [10.0] * len(micros))
        return row

    def age(self, mean: float) -> age.Age:
        return age.Age(200, mean, 1, 2, mean)

    def results(self) -> report.Results:
        return report.Results(
            {"cores": "2"},
            rows=[self.row("plain", [10.0, 10.0], "haproxy"), self.row("plain", [24.0, 26.0])],
            latencies=[cases.Latency("rpcproxy", 500, 0.0002, 0.0004, 0.0001, 0.0003)],
            scalings=[
                cases.Scaling(
                    "bytes of the answer",
                    "bytes",
                    [1024, MIB],
                    [20.0, 200.0],
                    [10.0, 100.0],
                    [1.0, 1.02],
                    figures.line([1024, MIB], [20.0, 200.0]),
                ),
                cases.Scaling(
                    "upstreams",
                    "upstreams",
                    [1, 64],
                    [20.0, 21.0],
                    [10.0, 10.0],
                    [1.0, 1.0],
                    figures.line([1, 64], [20.0, 21.0]),
                ),
            ],
            idle=cases.Idle(10_000, 2048.0, 0.001),
            slow=cases.SlowReaders(50, 64 * MIB, 60 * MIB, 90 * MIB, 1.0),
            ages=[
                age.Scene("together", 2.0, self.age(0.04), self.age(0.05), 43200.0, 50000.4),
                age.Scene("spread", 2.0, self.age(0.04), self.age(0.2), 43200.0, 50000.4),
            ],
            rounds=2,
            seconds=1.0,
        )

    def test_a_bound_passed_is_said_and_a_third_is_granted_in_ci(self) -> None:
        rows = self.results().rows
        assert report.misses(rows) == [
            "forward, plain: 2.50 times HAProxy's CPU, at most 2.00 is allowed"
        ]
        assert report.misses(rows, cases.GRACE) == []
        assert report.misses([self.row("local", [6.0]), self.row("kept", [6.0])]) == []
        assert len(report.misses([self.row("kept", [6.1])])) == 1
        assert len(report.misses([self.row("local", [9.0])], cases.GRACE)) == 1

    def test_what_is_too_old_is_said(self) -> None:
        assert report.old_ages(self.results().ages) == [
            "spread: 0.200 blocks behind on average, at most 0.15 is allowed"
        ]

    def test_a_load_that_started_too_late_is_no_fault_of_who_was_asked(self) -> None:
        late = load.Closed(0, 0.325, 0, 0.0, 0.0)
        assert cases.outrun(late, 1.2) == "the load was outrun: it asked for 0.3 of 1.2 s"
        assert cases.outrun(load.Closed(0, 0.325, 1, 0.0, 0.0), 1.2) is None
        assert cases.outrun(load.Closed(0, 1.1, 0, 0.0, 0.0), 1.2) is None

    def test_how_steady_the_machine_was_is_said(self) -> None:
        rows = [self.row("plain", [10.0, 9.0, 12.6], "haproxy"), self.row("plain", [24.0, 99.0])]
        assert report.reference_lines(report.Results({}, rows=rows)) == [
            "forward, plain: HAProxy's own cost differed by 40% between rounds."
        ]

    def test_another_proxy_is_never_too_slow(self) -> None:
        assert report.misses([self.row("plain", [99.0], "nginx")]) == []

    def test_the_files_say_the_same(self, tmp_path: Path) -> None:
        report.write(self.results(), tmp_path)
        text = (tmp_path / "results.md").read_text()
        assert "| forward, plain | rpcproxy | 25.0 | 2.50 (2.40–2.60) | 2.50 | ≤ 2.0 |" in text
        assert "| rpcproxy | 0.200 | 0.400 | 0.100 | 0.300 |" in text
        assert "| 1 MiB | 200.0 | 100.0 | 2.00 | 1.02 |" in text
        assert "Most above the cost with one upstream: +5%." in text
        assert "10,000 idle connections: 2 KiB each" in text
        assert "memory grew by 30 MiB at most" in text
        assert (
            "| together | eth_blockNumber | 0.040 | 1 | 2 | 4.0% of 200 | ≤ 0.15 |\n"
            "| together | state at latest | 0.050 | 1 | 2 | 5.0% of 200 | ≤ 0.15 |\n"
        ) in text
        assert "together: 43,200 while nobody asks; 50,000 for heads" in text
        told = json.loads((tmp_path / "results.json").read_text())
        assert told["rows"][1]["ratio"]["median"] == 2.5
        assert "<svg" in (tmp_path / "results.svg").read_text()

    def test_a_skipped_case_is_named(self) -> None:
        results = report.Results({}, idle="skipped: the hard limit here is 1024")
        assert report.memory_lines(results) == [
            "Idle connections: skipped: the hard limit here is 1024."
        ]

    def test_the_machine_in_neutral_words(self) -> None:
        told = report.machine(2, is_split=False)
        assert told["placement"] == "all on one core"
        assert set(told) >= {"processor", "cores", "Python", "HAProxy", "wrk"}


class TestCommand:
    def test_quick_is_shorter(self) -> None:
        quick, full = command.parse(["--quick"]), command.parse([])
        assert quick.rounds * quick.seconds < full.rounds * full.seconds
        assert command.parse(["--quick", "--rounds", "9"]).rounds == 9

    def test_a_pid_alone_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            command.parse(["--pid", "1"])
        assert "--url" in capsys.readouterr().err

    def test_each_of_ours_follows_its_reference(self) -> None:
        def one(name: str) -> contenders.Contender:
            return contenders.Contender(name, "http://127.0.0.1:1/", ())

        ours, haproxy = one("rpcproxy"), one("haproxy")
        found = command.entries(
            {"plain": ours, "tls": ours},
            [{"plain": haproxy, "tls": haproxy}],
            one("other"),
            {"plain": one("before"), "tls": one("before")},
        )
        assert [(entry.contender.name, entry.case) for entry in found] == [
            ("haproxy", "plain"),
            ("rpcproxy", "plain"),
            ("before", "plain"),
            ("other", "plain"),
            ("rpcproxy", "kept"),
            ("before", "kept"),
            ("rpcproxy", "local"),
            ("before", "local"),
            ("haproxy", "tls"),
            ("rpcproxy", "tls"),
            ("before", "tls"),
            *((who, f"batch of {n}") for n in (10, 100) for who in ("rpcproxy", "before")),
        ]
        alone = command.entries({"plain": ours, "tls": ours}, [], None, {})
        assert not {entry.case for entry in alone} & set(cases.BATCHES)

    def test_an_idle_connection_is_told_beside_the_build_before(self) -> None:
        found = report.Results({}, idle=cases.Idle(10_000, 3072.0, 0.01))
        assert report.before_lines(found) == []
        found.idle_before = cases.Idle(10_000, 4096.0, 0.01)
        [line] = report.before_lines(found)
        assert line == ("An idle connection: 3 KiB, 0.75 times that of the build before (4 KiB).")

    def test_batches_have_no_bound(self) -> None:
        runs = [cases.Run(500.0, 1, 1.0, 100.0)]
        found = report.Results({}, [cases.Row("rpcproxy", "batch of 100", runs)])
        assert report.misses(found.rows) == []
        assert report.cost_table(found)[1][5] == ""

    def test_two_builds_are_told_by_their_ratio(self) -> None:
        def row(name: str, micros: float) -> cases.Row:
            return cases.Row(name, "plain", [cases.Run(micros, 1, 1.0, 1.0)] * 3)

        found = report.Results({}, [row("rpcproxy", 22.0), row("before", 20.0)])
        [line] = report.before_lines(found)
        assert line.startswith("forward, plain: 1.10 (1.10–1.10) times")
        assert report.before_lines(report.Results({}, [row("rpcproxy", 22.0)])) == []

    def test_missing_tools_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(contenders, "is_here", lambda tool: tool != "wrk")
        assert command.lacking() == "wrk must be installed (on Debian: apt-get install …)"
