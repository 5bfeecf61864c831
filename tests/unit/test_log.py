"""The embedded log on disk: what was acknowledged is kept or its loss is told; what never was is cut and put aside."""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from parakh.streams.disk import Disk
from parakh.streams.log import EmbeddedLog, LogFailed
from parakh.streams.reader import LogReader
from parakh.streams.segments import FRAME, HEADER, DamagedLog, frame, frame_size, read_frame, segment_header

SEGMENT = 1 << 16
SEED = int(os.environ.get("PARAKH_SEED", "20261125"))
ROUNDS = int(os.environ.get("PARAKH_ROUNDS", "0"))


def opened(folder: Path, **options: object) -> EmbeddedLog:
    return EmbeddedLog(folder, segment_bytes=SEGMENT, **options)  # type: ignore[arg-type]


def filled(folder: Path, count: int, *, size: int = 300, seed: int = SEED) -> list[bytes]:
    """A log of so many entries, all acknowledged."""
    chance = random.Random(seed)
    payloads = [chance.randbytes(chance.randint(0, size)) for _ in range(count)]
    with opened(folder) as log:
        for number, payload in enumerate(payloads):
            log.append(1, payload, arrived_us=number)
        log.wait(log.end)
    return payloads


def contents(log: EmbeddedLog) -> list[bytes]:
    return [bytes(entry.payload) for entry in log.follow(log.first)]


def test_entries_come_back_in_order_over_segments(tmp_path: Path) -> None:
    payloads = filled(tmp_path, 1_000)
    with opened(tmp_path) as log:
        assert len(log.segments()) > 1
        assert contents(log) == payloads
        entries = list(log.follow(0))
        assert [entry.arrived_us for entry in entries] == list(range(1_000))
        assert all(before.next == after.position for before, after in pairwise(entries))
        assert log.end == log.durable == entries[-1].next
        # Anywhere an entry stands, reading may begin, with whatever limit.
        for entry in entries[::97]:
            assert log.read(entry.position, 10)[0] == entry


def test_an_entry_larger_than_a_segment_has_one_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        for payload in (b"a", b"b" * 3 * SEGMENT, b"c"):
            log.append(1, payload, arrived_us=0)
        log.wait(log.end)
    with opened(tmp_path) as log:
        assert [len(payload) for payload in contents(log)] == [1, 3 * SEGMENT, 1]


def test_nothing_is_read_before_it_is_durable(tmp_path: Path) -> None:
    gate = threading.Event()

    class Slow(Disk):
        def write_through(self, file: int, data: bytes, offset: int) -> None:
            gate.wait(5)
            super().write_through(file, data, offset)

    with opened(tmp_path, disk=Slow()) as log:
        told: list[int] = []
        log.on_durable(told.append)
        end = log.append(1, b"x", arrived_us=0)
        time.sleep(0.05)
        assert log.durable == 0
        assert log.read(0) == []
        assert told == []
        gate.set()
        log.wait(end)
        assert [bytes(entry.payload) for entry in log.read(0)] == [b"x"]
    assert told == [end]


def test_what_waits_is_synced_together(tmp_path: Path) -> None:
    gate = threading.Event()
    syncs = 0

    class Counting(Disk):
        def write_through(self, file: int, data: bytes, offset: int) -> None:
            nonlocal syncs
            gate.wait(5)
            syncs += 1
            super().write_through(file, data, offset)

    with opened(tmp_path, disk=Counting()) as log:
        log.append(1, b"first", arrived_us=0)
        time.sleep(0.05)
        for number in range(100):
            log.append(1, b"%d" % number, arrived_us=0)
        gate.set()
        log.wait(log.end)
        assert syncs == log.commits == 2


def test_the_next_segment_is_made_without_pauses_where_it_falls_behind(tmp_path: Path) -> None:
    asked: list[Callable[[float], bool]] = []

    class Asked(Disk):
        def make(
            self, path: Path, header: bytes, size: int, *, has_time: Callable[[float], bool] | None = None
        ) -> None:
            if has_time is not None:
                asked.append(has_time)
            super().make(path, header, size)

    with opened(tmp_path, disk=Asked()) as log:
        while log.end < SEGMENT // 8:
            log.wait(log.append(1, bytes(400), arrived_us=0))
        deadline = time.monotonic() + 10
        while not asked and time.monotonic() < deadline:
            time.sleep(0.001)
        assert [has_time(0.0) for has_time in asked] == [True], "nothing has come since"
        while log.end < SEGMENT // 2:
            log.append(1, bytes(400), arrived_us=0)
        assert [asked[0](made) for made in (0.25, 0.5, 0.75)] == [False, False, True]
        while len(log.segments()) < 3:
            log.wait(log.append(1, bytes(400), arrived_us=0))
        assert len(asked) >= 2


def test_a_short_entry_for_which_nothing_waits_is_written_by_the_thread_that_appends(tmp_path: Path) -> None:
    gate, writers = threading.Event(), list[str]()

    class Noting(Disk):
        def write_through(self, file: int, data: bytes, offset: int) -> None:
            writers.append(threading.current_thread().name)
            if writers[-1] == "log writer":
                gate.wait(5)
            super().write_through(file, data, offset)

    with opened(tmp_path, disk=Noting(), own_bytes=500) as log:
        assert log.append(1, b"short", arrived_us=0) == log.durable
        assert log.own_s > 0
        long = log.append(1, b"l" * 1_000, arrived_us=0)
        behind = log.append(1, b"behind", arrived_us=0)
        assert log.durable < long < behind, "it is not written before what stands before it"
        gate.set()
        log.wait(behind)
        log._usually_s = 0.0  # the gate took its time
        assert log.append(1, b"again", arrived_us=0) == log.durable
        assert writers[0] == writers[-1] == threading.current_thread().name
        assert set(writers[1:-1]) == {"log writer"}
        assert [bytes(entry.payload) for entry in log.read(0)] == [b"short", b"l" * 1_000, b"behind", b"again"]
        assert log.commits == len(writers)
        # Over the ends of segments, which are the writer's.
        for number in range(2_000):
            log.append(1, b"%06d" % number * 20, arrived_us=0)
        log.wait(log.end)
        assert len(log.segments()) > 2
        assert [bytes(entry.payload[:6]) for entry in log.follow(0)][4:] == [b"%06d" % n for n in range(2_000)]
    with opened(tmp_path) as log:
        assert len(contents(log)) == 2_004


def test_a_disk_that_is_slow_is_left_to_the_writer(tmp_path: Path) -> None:
    writers, slow_s = list[str](), 0.0

    class Slow(Disk):
        def write_through(self, file: int, data: bytes, offset: int) -> None:
            writers.append(threading.current_thread().name)
            time.sleep(slow_s)
            self.write(file, data, offset)  # and no sync, which is slow on some disks

    mine = threading.current_thread().name
    with opened(tmp_path, disk=Slow(), own_bytes=500) as log:
        slow_s = 0.1
        for _ in range(3):
            log.wait(log.append(1, b"x", arrived_us=0))
        assert writers == [mine, "log writer", "log writer"]
        slow_s = 0.0
        while writers[-1] != mine and len(writers) < 1_000:
            log.wait(log.append(1, b"x", arrived_us=0))
        assert len(writers) > 20, "one fast write does not make a fast disk"
        assert writers[-1] == mine


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_write_of_its_own_that_fails_is_as_final_as_the_writers(tmp_path: Path, code: int) -> None:
    disk = Failing(code, after=1)
    failures: list[BaseException] = []
    log = opened(tmp_path, disk=disk, own_bytes=500, on_failure=failures.append)
    log.append(1, b"kept", arrived_us=0)
    log._usually_s = 0.0  # whatever the disk
    if code == errno.ENOSPC:
        end = log.append(1, b"waits", arrived_us=0)
        assert log.durable < end, "the writer waits for room"
        disk.failing = False
        log.wait(end)
    else:
        with pytest.raises(LogFailed):
            log.append(1, b"lost", arrived_us=0)
        disk.failing = False
        with pytest.raises(LogFailed):
            log.append(1, b"more", arrived_us=0)
        assert isinstance(failures[0], OSError)
    log.close()
    with opened(tmp_path) as log:
        # What was written and never told is found all the same.
        assert contents(log) == [b"kept", b"waits" if code == errno.ENOSPC else b"lost"]


def torn(folder: Path, keep: int) -> tuple[Path, int, bytes, list[int]]:
    """A log that ends in one large group that was written and never acknowledged, as a power cut leaves it."""
    payloads = filled(folder, keep)
    del payloads
    with opened(folder) as log:
        end, segment = log.end, log.segments()[-1]
    start = int(segment.name.removesuffix(".log"))
    chance = random.Random(SEED)
    data, ends = b"", []
    while HEADER + end + len(data) - start + 2_000 < SEGMENT:
        data += frame(1, chance.randbytes(chance.randint(0, 900)), position=end + len(data), durable=end, arrived_us=0)
        ends.append(len(data))
    with segment.open("r+b") as file:
        file.seek(HEADER + end - start)
        file.write(data)
    return segment, HEADER + end - start, data, ends


def test_r3_a_torn_end_keeps_the_longest_whole_beginning(tmp_path: Path) -> None:
    """Truncated and zero-filled at bytes of the end, and blocks of 512 bytes lost: only what was never told is cut."""
    segment, offset, data, ends = torn(tmp_path / "log", 20)
    whole = segment.read_bytes()
    acknowledged = offset - HEADER
    chance = random.Random(SEED)
    cuts = range(len(data)) if ROUNDS else sorted(chance.sample(range(len(data)), 150))
    for cut in cuts:
        for kind in ("short", "zeros"):
            damaged = whole[: offset + cut] + (b"" if kind == "short" else bytes(len(whole) - offset - cut))
            segment.write_bytes(damaged)
            with opened(tmp_path / "log") as log:
                kept = max((end for end in ends if end <= cut), default=0)
                # A frame whose missing bytes are zeros anyway (its padding) is whole.
                assert log.durable - acknowledged in (kept, *(end for end in ends if cut < end <= cut + 7)), (
                    f"seed {SEED}, cut {cut}, {kind}"
                )
                assert len(contents(log)) >= 20
            for aside in (tmp_path / "log").glob("torn-*"):
                aside.unlink()
            (tmp_path / "log" / "durable").unlink()


def test_r3_blocks_that_were_written_out_of_order(tmp_path: Path) -> None:
    segment, offset, data, ends = torn(tmp_path / "log", 20)
    whole = bytearray(segment.read_bytes())
    mark = (tmp_path / "log" / "durable").read_bytes()
    chance = random.Random(SEED)
    first_block = -(-offset // 512)
    last_block = (offset + len(data)) // 512
    for _ in range(ROUNDS or 100):
        damaged = bytearray(whole)
        lost = sorted(chance.sample(range(first_block, last_block), chance.randint(1, 8)))
        for block in lost:
            damaged[512 * block : 512 * block + 512] = bytes(512)
        segment.write_bytes(damaged)
        (tmp_path / "log" / "durable").write_bytes(mark)
        kept = max((end for end in ends if offset + end <= 512 * lost[0]), default=0)
        with opened(tmp_path / "log") as log:
            assert log.durable - (offset - HEADER) == kept, f"seed {SEED}, lost blocks {lost}"
            # What was cut is gone for good: new entries stand in its place.
            log.append(1, b"new", arrived_us=0)
            log.wait(log.end)
            assert contents(log)[-1] == b"new"


def test_an_end_that_was_acknowledged_and_is_missing_is_told(tmp_path: Path) -> None:
    filled(tmp_path, 20)
    segment = next(iter(tmp_path.glob("*.log")))
    data = segment.read_bytes()
    end = len(data.rstrip(b"\0"))
    segment.write_bytes(data[: end - 50])
    with pytest.raises(DamagedLog, match="acknowledged"):
        opened(tmp_path)


def test_r4_bit_flips_are_found_and_never_cut(tmp_path: Path) -> None:
    """Each flip in an acknowledged part is found at the start; nothing starts, and nothing is removed."""
    filled(tmp_path / "log", 400)
    with opened(tmp_path / "log") as log:
        end = log.end
        segments = {path: path.read_bytes() for path in log.segments()}
    mark = (tmp_path / "log" / "durable").read_bytes()
    chance = random.Random(SEED)
    paths = sorted(segments)
    for number in range(ROUNDS * 5 or 300):
        path = chance.choice(paths)
        start = int(path.name.removesuffix(".log"))
        used = HEADER + (end - start if path == paths[-1] else len(segments[path]) - HEADER)
        bit = chance.randrange(8 * used)
        damaged = bytearray(segments[path])
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        (tmp_path / "log" / "durable").write_bytes(mark)
        with pytest.raises(DamagedLog):
            opened(tmp_path / "log").close()
        assert path.read_bytes() == bytes(damaged), f"seed {SEED}, flip {number}"
        path.write_bytes(segments[path])


def test_a_flip_is_found_without_the_mark_where_a_later_group_tells(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        first = log.append(1, b"first" * 10, arrived_us=0)
        log.wait(first)
        log.wait(log.append(1, b"second", arrived_us=0))
        segment = log.segments()[0]
    (tmp_path / "durable").unlink()
    data = bytearray(segment.read_bytes())
    data[HEADER + FRAME + 3] ^= 1
    segment.write_bytes(data)
    with pytest.raises(DamagedLog, match="position 0"):
        opened(tmp_path)


def test_a_segment_that_is_gone_is_told(tmp_path: Path) -> None:
    filled(tmp_path, 1_000)
    paths = sorted(tmp_path.glob("*.log"))
    paths[1].unlink()
    with pytest.raises(DamagedLog, match="gap"):
        opened(tmp_path)
    for path in tmp_path.glob("*.log"):
        path.unlink()
    with pytest.raises(DamagedLog, match="files are gone"):
        opened(tmp_path)


class Failing(Disk):
    """A disk whose writes reach it and whose syncs fail, from some point on."""

    def __init__(self, code: int, after: int = 0) -> None:
        self.code = code
        self.after = after
        self.failing = True

    def write_through(self, file: int, data: bytes, offset: int) -> None:
        if self.failing:
            if self.after == 0:
                self.write(file, data, offset)
                raise OSError(self.code, os.strerror(self.code))
            self.after -= 1
        super().write_through(file, data, offset)


def test_r5_a_sync_that_fails_is_never_tried_again(tmp_path: Path) -> None:
    disk = Failing(errno.EIO, after=1)
    failures: list[BaseException] = []
    log = opened(tmp_path, disk=disk, on_failure=failures.append)
    log.wait(log.append(1, b"kept", arrived_us=0))
    end = log.append(1, b"lost", arrived_us=0)
    with pytest.raises(LogFailed):
        log.wait(end)
    disk.failing = False  # a second sync would seem to succeed
    with pytest.raises(LogFailed):
        log.append(1, b"more", arrived_us=0)
    assert log.durable < end
    log.close()  # waits for the writer, which says what went wrong after those who wait for the log know
    assert isinstance(failures[0], OSError)
    with opened(tmp_path) as log:
        assert contents(log)[0] == b"kept"


def test_r6_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    disk = Failing(errno.ENOSPC)
    with opened(tmp_path, disk=disk) as log:
        end = log.append(1, b"waits", arrived_us=0)
        deadline = time.monotonic() + 5
        while not log.full and time.monotonic() < deadline:
            time.sleep(0.01)
        assert log.full
        assert log.durable == 0
        disk.failing = False
        log.wait(end)
        assert not log.full
        assert contents(log) == [b"waits"]


def test_old_segments_are_let_go(tmp_path: Path) -> None:
    payloads = filled(tmp_path, 1_000)
    with opened(tmp_path) as log:
        third = int(log.segments()[2].name.removesuffix(".log"))
        assert log.trim(third + 1) == third
        assert contents(log) == payloads[-len(contents(log)) :]
        with pytest.raises(IndexError, match="no longer in the log"):
            log.read(0)
    with opened(tmp_path) as log:
        assert log.first == third
    assert not list(tmp_path.glob("*.old")), "what is let go is removed"


def test_a_segment_that_was_let_go_and_not_removed_is_removed_by_the_next_start(tmp_path: Path) -> None:
    class Stuck(Disk):
        def remove(self, path: Path) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    filled(tmp_path, 1_000)
    with opened(tmp_path, disk=Stuck()) as log:
        second = int(log.segments()[1].name.removesuffix(".log"))
        log.trim(second)
        left = len(contents(log))
    assert [path.stem for path in tmp_path.glob("*.old")] == [f"{0:020d}"]
    with opened(tmp_path) as log:
        assert log.first == second
        assert len(contents(log)) == left
    assert not list(tmp_path.glob("*.old"))


def test_a_large_file_is_removed_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts: list[int] = []
    cut = os.ftruncate

    def noted(file: int, size: int) -> None:
        cuts.append(size)
        cut(file, size)

    monkeypatch.setattr(os, "ftruncate", noted)
    for size in (0, 100, 4 << 20, (9 << 20) + 1):
        cuts.clear()
        path = tmp_path / "large"
        path.write_bytes(bytes(size))
        Disk().remove(path)
        assert not path.exists()
        assert all(before - after <= 4 << 20 for before, after in pairwise([size, *cuts, 0]))


def test_a_reader_beside_the_writer_stops_where_it_was_told(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        ends = [log.append(1, b"%d" % number, arrived_us=0) for number in range(2_000)]
        log.wait(log.end)
        reader = LogReader.of(tmp_path, durable=ends[999])
        assert [bytes(entry.payload) for entry in reader.follow(0)] == [b"%d" % number for number in range(1_000)]
        reader.close()


def test_a_crash_between_sealing_and_the_next_segment(tmp_path: Path) -> None:
    """The sealed segment has no room left: the next start makes the following one."""
    with opened(tmp_path) as log:
        log.wait(log.append(1, b"x" * 100, arrived_us=0))
        end, segment = log.end, log.segments()[0]
    os.truncate(segment, HEADER + end)
    with opened(tmp_path) as log:
        log.wait(log.append(1, b"y", arrived_us=0))
        assert contents(log) == [b"x" * 100, b"y"]
        assert len(log.segments()) == 2


def test_a_frame_that_was_moved_is_none() -> None:
    data = memoryview(frame(1, b"hello", position=64, durable=0, arrived_us=5))
    assert read_frame(data, 0, 64) is not None
    assert read_frame(data, 0, 72) is None
    assert frame_size(5) == len(data)


@pytest.fixture
def tampered(tmp_path: Path) -> Iterator[Path]:
    filled(tmp_path / "log", 50)
    yield tmp_path / "log"
    shutil.rmtree(tmp_path / "log")


def test_a_segment_of_another_place_is_refused(tampered: Path) -> None:
    segment = next(iter(tampered.glob("*.log")))
    data = bytearray(segment.read_bytes())
    data[:HEADER] = segment_header(4096)
    segment.write_bytes(data)
    with pytest.raises(DamagedLog, match="header"):
        opened(tampered)
