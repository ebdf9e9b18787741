"""Log lines that nobody takes: they are lost, and nothing waits for them or fails."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.output import AT_ONCE_BYTES, GATHER_SECONDS, PATIENCE_SECONDS, Output


def told(count: int) -> bytes:
    return b"lost %d\n" % count


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    for end in (reader, writer):
        os.close(end)


def read(reader: int) -> bytes:
    received = b""
    try:
        while chunk := os.read(reader, 2**20):
            received += chunk
    except BlockingIOError:
        pass
    return received


def test_a_pipe_that_nobody_reads_holds_nobody_up_and_tells_what_was_lost(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer, told)
    began = time.monotonic()
    for number in range(2000):
        output.write(b"%04d" % number + b"x" * 995 + b"\n")
    assert time.monotonic() - began < PATIENCE_SECONDS + 1
    kept = read(reader).splitlines()
    output.write(b"again\n")
    notice, line = read(reader).lstrip().splitlines()
    assert line == b"again"
    assert notice == b"lost %d" % (2000 - sum(len(one) == 999 for one in kept))
    assert os.get_blocking(writer), "others that share the pipe find it changed"


def test_after_half_a_line_the_next_one_begins_anew(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer, told)
    output.write(b"x" * 200_000 + b"\n")
    assert len(read(reader)) == 65_536
    output.write(b"whole\n")
    assert read(reader) == b"\nlost 1\nwhole\n"


def test_a_closed_pipe_and_a_full_disk_lose_lines_and_nothing_else(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    output = Output(writer, told)
    os.close(reader)
    output.write(b"nobody reads\n")
    os.close(writer)
    full = os.open("/dev/full", os.O_WRONLY)
    Output(full, told).write(b"no room\n")
    os.close(full)
    Output(full, told).write(b"no file\n")


def test_lines_in_no_hurry_come_together_soon_and_in_order(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Output(writer, told)
    for number in range(5):
        output.later(b"%d\n" % number)
    assert read(reader) == b""
    time.sleep(GATHER_SECONDS * 3)
    assert read(reader) == b"0\n1\n2\n3\n4\n"
    output.later(b"5\n")
    output.write(b"6\n")
    assert read(reader) == b"5\n6\n"


def test_no_write_is_larger_than_what_a_pipe_takes_whole(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: sizes.append(len(data)) or write(file, data))
    output = Output(pipe[1], told)
    for _ in range(100):
        output.later(b"x" * 299 + b"\n")
    output.flush()
    assert sum(sizes) == 100 * 300
    assert AT_ONCE_BYTES - 300 < max(sizes) <= AT_ONCE_BYTES
