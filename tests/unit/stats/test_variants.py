# SPDX-License-Identifier: Apache-2.0
"""Variants of a bench have names of their own; one way to write a value is as good as another."""

from __future__ import annotations

from harness.stats.variants import Variant, parameters, titles, variant_of, variant_of_cell

BENCHES = {"gap": {"params": {"threshold": {"default": "1us"}, "ring": {"default": 65536}}}}


def gap(threshold="1000ns", ring="65536", duration_ns=10**9, settle_ns=10**9) -> Variant:
    return variant_of("gap", {"threshold": threshold, "ring": ring}, duration_ns, settle_ns)


def test_defaults_are_left_out_and_the_rest_is_named():
    assert titles([gap(), gap("5000ns"), gap("5000ns", "1024")], BENCHES) == {
        gap(): "gap",
        gap("5000ns"): "gap threshold=5us",
        gap("5000ns", "1024"): "gap ring=1024 threshold=5us",
    }
    assert titles([gap("5us")], BENCHES) == {gap("5us"): "gap threshold=5us"}


def test_times_are_named_where_they_differ():
    assert list(titles([gap(), gap(duration_ns=10**10)], BENCHES).values()) == ["gap duration=1s", "gap duration=10s"]
    assert list(titles([gap(), gap(settle_ns=0)], BENCHES).values()) == ["gap settle=1s", "gap settle=0ns"]
    assert list(titles([gap(duration_ns=5)], BENCHES).values()) == ["gap"]


def test_what_looked_for_causes_is_another_measurement_and_says_so():
    plain, attributed = gap(), variant_of("gap", {}, 10**9, 10**9, attribution="perf")
    assert list(titles([plain, attributed], BENCHES).values()) == ["gap", "gap attribution=perf"]
    assert list(titles([attributed], BENCHES).values()) == ["gap attribution=perf"]
    assert gap() == variant_of("gap", dict(plain.params), 10**9, 10**9, attribution="off")


def test_a_cell_of_a_plan_is_called_as_its_runs_are():
    cell = {"bench": "gap", "params": {}, "duration_ns": 10**9, "settle_ns": 10**9, "kernel": "next", "boot": "quiet"}
    asked = variant_of("gap", {}, 10**9, 10**9, "next", "quiet", "perf")
    assert variant_of_cell({**cell, "attribution": "perf"}) == asked
    assert variant_of_cell(cell) != asked


def test_without_a_plan_what_differs_is_named():
    assert list(titles([gap(), gap("5us")], {}).values()) == ["gap threshold=1us", "gap threshold=5us"]
    assert list(titles([gap()], {"gap": "junk"}).values()) == ["gap"]
    assert list(titles([gap(), variant_of("wake", None, None, None)], {}).values()) == ["gap", "wake"]


def test_a_value_has_one_spelling():
    assert gap("1000ns") == gap("1us") == gap("0.001ms")
    assert gap("1us") != gap("2us")
    assert parameters({"threshold": "2500ns", "ring": "65536", "name": "x", "at": "0ns"}) == (
        "at=0ns name=x ring=65536 threshold=2500ns"
    )
