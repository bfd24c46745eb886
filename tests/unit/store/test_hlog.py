# SPDX-License-Identifier: Apache-2.0
"""Histogram logs: read what Java wrote, write what the Python library and Java read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from hypothesis import strategies as st

from harness.store import hdr, hlog
from harness.store.hdr import GEOMETRY, HistogramError
from harness.store.hlog import Interval, format_log, parse_log, read_log

GOLDEN = Path(__file__).parents[2] / "golden"


def probe_interval(tag: str = "gap_ns.cpu1", start_s: float = 1_795_136_400.25) -> Interval:
    result = json.loads((GOLDEN / "probe-result.json").read_text())
    blob = hdr.to_blob((GOLDEN / "probe-gap_ns.hdr").read_bytes())
    return Interval(tag, start_s, result["duration_ns"] / 1e9, result["histograms"]["gap_ns"]["max"], blob)


def library_read(path: Path) -> list[HdrHistogram]:
    reader = HistogramLogReader(str(path), HdrHistogram(1, GEOMETRY.highest, 2))
    try:
        found = []
        while (histogram := reader.get_next_interval_histogram()) is not None:
            found.append(histogram)
        return found
    finally:
        reader.close()


def test_reads_what_java_wrote():
    intervals = read_log(GOLDEN / "java-tagged.hlog")
    assert [interval.tag for interval in intervals] == list("AABBCC")
    assert [interval.start_s for interval in intervals] == [2.133, 3.134, 0.127, 1.134, 6.134, 7.133]
    for interval in intervals:
        counts, their = interval.decode(), HdrHistogram.decode(interval.blob)
        assert counts.counts[: their.counts_len].tolist() == list(their.counts)
        # Java states the top of the highest bucket in ms: its own answer to what the histogram holds.
        highest = counts.geometry.bounds[1][np.flatnonzero(counts.counts)[-1]]
        assert round(highest / 1e6, 3) == interval.max_value


def test_the_library_reads_what_we_write(tmp_path):
    path = tmp_path / "x.hlog"
    first, second = probe_interval(), probe_interval("gap_ns.any", 1_795_136_411.0)
    path.write_text(format_log([second, first]))
    read = library_read(path)
    assert [each.tag for each in read] == ["gap_ns.cpu1", "gap_ns.any"]
    assert [each.get_start_time_stamp() for each in read] == [1_795_136_400_250.0, 1_795_136_411_000.0]
    assert list(read[0].counts) == first.decode().counts.tolist()


def test_the_log_we_write_has_not_changed():
    """Byte for byte: a difference is a change of format, to be stated in docs/formats.md."""
    text = format_log([probe_interval()], ["isolbench: nuc gap.pinned.idle-0123456789ab-r1"])
    assert text == (GOLDEN / "isolbench.hlog").read_text()


def test_the_exact_maximum_stands_in_ns():
    line = format_log([probe_interval()]).splitlines()[-1]
    assert line.startswith("Tag=gap_ns.cpu1,0.000,0.300,118385.000,HISTF")


@given(
    st.lists(
        st.tuples(st.sampled_from(["gap_ns.cpu1", "gap_ns.any", "x/y"]), st.integers(0, 10**7), st.integers(0, 10**10)),
        max_size=8,
    )
)
def test_what_is_written_is_read(entries):
    blob = probe_interval().blob
    intervals = [Interval(tag, 1_795_136_400.0 + ms / 1000, 1.5, float(most), blob) for tag, ms, most in entries]
    read = parse_log(format_log(intervals))
    assert sorted((i.tag, round(i.start_s, 3), i.length_s, i.max_value) for i in read) == sorted(
        (i.tag, round(i.start_s, 3), i.length_s, i.max_value) for i in intervals
    )
    assert [i.start_s for i in read] == sorted(i.start_s for i in read)


@pytest.mark.parametrize("tag", ["a b", "a,b", "a\nTag=b", ""])
def test_a_tag_that_would_break_the_line_is_refused(tag):
    with pytest.raises(HistogramError, match="not a tag"):
        format_log([probe_interval(tag)])


def test_a_comment_stays_one_line():
    assert "Tag=" not in format_log([], ["hello\nTag=x,0,0,0,y"]).replace("#hello Tag=x", "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Tag=x,0.0,1.0,HISTF", "x.hlog:1: not a line"),
        ("Tag=x,zero,1.0,2.0,HISTF", "x.hlog:1: not a number: 'zero'"),
        ("Tag=x,inf,1.0,2.0,HISTF", "not a number"),
        ("#[BaseTime: 1.2.3 (seconds since epoch)]", "not a number"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, message):
    path = tmp_path / "x.hlog"
    path.write_text(line + "\n")
    with pytest.raises(HistogramError, match=message):
        read_log(path)


def test_a_broken_histogram_is_found_when_decoded():
    (interval,) = parse_log("Tag=x,0.0,1.0,2.0,HISTFAAA\n")
    with pytest.raises(HistogramError):
        interval.decode()


def test_what_is_no_text_and_what_is_not_there(tmp_path):
    (tmp_path / "binary.hlog").write_bytes(b"\xff\xfe\0")
    with pytest.raises(HistogramError, match=r"binary\.hlog: not a histogram log"):
        read_log(tmp_path / "binary.hlog")
    with pytest.raises(HistogramError, match=r"none\.hlog: No such file"):
        read_log(tmp_path / "none.hlog")


def test_a_tag_is_found_or_named(tmp_path):
    path = tmp_path / "x.hlog"
    path.write_text(format_log([probe_interval()]))
    assert hlog.find_interval(path, "gap_ns.cpu1").decode().total == 31369964
    with pytest.raises(HistogramError, match=r"has no histogram tagged gap_ns\.cpu2"):
        hlog.find_interval(path, "gap_ns.cpu2")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("", 5.0),
        ("#[StartTime: 1000000000.0 (s)]\n", 1_000_000_005.0),
        ("#[BaseTime: 7.0 (s)]\n", 12.0),
    ],
)
def test_times_are_absolute_as_java_guesses(head, expected):
    (interval,) = parse_log(head + "5.0,1.0,2.0,HISTF\n")
    assert interval.start_s == expected
