# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.bench import find_bench, known_benches, load_bench, read_bench
from harness.config.data import data_dir
from harness.errors import ConfigError, EnvironmentFault

GAP = """
probe: gap
description: Gaps.
params:
  threshold: {type: duration, default: 1us, min: 100ns, max: 1s, description: what}
  ring: {type: int, default: 65536}
  share: {type: number, default: 0.5, max: 1}
  method: {type: choice, default: timerfd, choices: [clock_nanosleep, timerfd]}
metrics:
  gap_ns: {better: lower, gate: p99.99, description: x}
  stolen_ppm: {better: lower}
"""


def write(folder: Path, text: str, name: str = "b") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def test_a_bench(tmp_path: Path) -> None:
    bench = read_bench(write(tmp_path, GAP))
    assert (bench.name, bench.probe, bench.metrics["gap_ns"].gate) == ("b", "gap", "p99.99")
    defaults = {"method": "timerfd", "ring": "65536", "share": "0.5", "threshold": "1000ns"}
    assert bench.options({}) == defaults
    asked = bench.options({"threshold": 2000, "method": "clock_nanosleep"})
    assert asked == {**defaults, "threshold": "2000ns", "method": "clock_nanosleep"}


def test_what_equals_a_default_is_left_out(tmp_path: Path) -> None:
    bench = read_bench(write(tmp_path, GAP))
    assert bench.resolve({"threshold": "1000ns", "ring": 1, "share": 0.5, "method": "timerfd"}) == {"ring": 1}
    assert bench.resolve({"method": "clock_nanosleep"}) == {"method": "clock_nanosleep"}


def test_a_choice_is_one_of_its_choices(tmp_path: Path) -> None:
    bench = read_bench(write(tmp_path, GAP))
    with pytest.raises(ValueError, match="unknown choice 'timer'; did you mean 'timerfd'"):
        bench.resolve({"method": "timer"})


RULE = "letters, digits and . _ + - only, a letter or digit first, 120 at most"
BAD = [
    ("metrics: {}", ["1:1: missing key 'probe'"]),
    ("probe: gap", ["1:1: missing key 'metrics'"]),
    ("probe: gap\nname: b\nmetrics: {}", ["2:1: name: unknown key: a bench is named by its file"]),
    ("probe: ../gap\nmetrics: {}", [
        f"1:8: probe: '../gap' cannot be a name: {RULE}"]),
    ("probe: g\nmetrics: [a]", ["2:10: metrics: expected 'key: value' lines, found a list"]),
    ("probe: g\nmetrics: {a_ns: lower}", ["2:17: metrics.a_ns: expected 'key: value' lines, found 'lower'"]),
    ("probe: g\nmetrics: {A: {better: lower}}", [
        "2:14: metrics.A: 'A' cannot be a name here (expected [a-z][a-z0-9_]{0,63})"]),
    ("probe: g\nmetrics: {a_ns: {better: lowr}}", [
        "2:26: metrics.a_ns.better: unknown direction 'lowr'; did you mean 'lower'?"]),
    ("probe: g\nmetrics: {a_ns: {better: lower, gate: 99}}", [
        "2:39: metrics.a_ns.gate: expected a quantile such as p99.99, found '99'"]),
    ("probe: g\nmetrics: {a_ns: {better: lower, gat: p99}}", [
        "2:33: metrics.a_ns.gat: unknown key; did you mean 'gate'?"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: duration, default: 1}}", [
        "3:39: params.t.default: a duration needs a unit: 1s, 1ms … (one of ns, us, ms, s, min, h)"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: dur, default: 1s}}", [
        "3:20: params.t.type: unknown type 'dur' (known: choice, duration, int, number)"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: int, default: 1e9}}", [
        "3:34: params.t.default: expected a whole number, found '1e9'"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: number, default: .inf}}", [
        "3:37: params.t.default: expected a number, found '.inf'"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: int}}", ["3:13: params.t: missing key 'default'"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: int, default: 5, min: 6}}", [
        "3:34: params.t.default: 5 is less than the minimum, 6"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: int, default: 5, min: 6, max: 5}}", [
        "3:50: params.t.max: less than min"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: int, default: 5, max: 4}}", [
        "3:34: params.t.default: 5 is more than the maximum, 4"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: choice, default: a}}", [
        "3:13: params.t: a choice needs its choices: [a, b]"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: choice, default: a, choices: [a, b], max: c}}", [
        "3:62: params.t.max: not for the type 'choice'"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: int, default: 1, choices: [a, b]}}", [
        "3:46: params.t.choices: not for the type 'int'"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: choice, default: c, choices: [a, b]}}", [
        "3:37: params.t.default: unknown choice 'c' (known: a, b)"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: choice, default: a, choices: [a, a]}}", [
        "3:49: params.t.choices: expected two or more different words, found 'a', 'a'"]),
    ("probe: g\nmetrics: {}\nparams: {t: {type: choice, default: a, choices: a}}", [
        "3:49: params.t.choices: expected a list, found 'a'"]),
    ("probe: g\nmetrics: {}\nhelper: --waker", [
        "3:9: helper: expected the name of an option such as waker-cpu, found '--waker'"]),
    ("probe: g\nmetrics: {}\nhelper: t\nparams: {t: {type: int, default: 1}}", [
        "3:9: helper: 't' is a parameter: the helper's CPU is chosen by the placement"]),
    ("probe: g\nmetrics: {}\nparams: {under_score: {type: int, default: 5}}", [
        "3:23: params.under_score: 'under_score' cannot be a name here (expected [a-z][a-z0-9-]{0,39})"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD)
def test_bad_benches(tmp_path: Path, text: str, expected: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_bench(path)
    assert caught.value.problems == [f"{path}:{line}" for line in expected]


def test_beside_the_campaign_then_above_then_shipped(tmp_path: Path) -> None:
    campaign = tmp_path / "benches" / "campaigns" / "c.yaml"
    assert find_bench("gap", beside=campaign) == data_dir("benches") / "gap.yaml"
    above = write(tmp_path / "benches", GAP, "gap")
    assert find_bench("gap", beside=campaign) == above
    beside = write(tmp_path / "benches" / "campaigns", GAP, "gap")
    assert find_bench("gap", beside=campaign) == beside
    assert "gap" in known_benches(campaign)


def test_a_campaign_called_like_its_bench_is_no_bench(tmp_path: Path) -> None:
    campaign = write(tmp_path, "campaign: gap\n", "gap")
    assert find_bench("gap", beside=campaign) == data_dir("benches") / "gap.yaml"
    assert known_benches(campaign) == known_benches()


def test_an_unknown_bench() -> None:
    with pytest.raises(ConfigError, match=r"unknown bench 'gapp'; did you mean 'gap'\?"):
        load_bench("gapp")


def test_shipped_benches_are_sound() -> None:
    assert known_benches()
    for name in known_benches():
        assert load_bench(name).name == name


def test_data_lies_beside_a_checkout_or_in_the_package(tmp_path: Path) -> None:
    package = tmp_path / "harness"
    packaged = package / "_data" / "benches"
    packaged.mkdir(parents=True)
    (tmp_path / "benches").mkdir()  # site-packages/benches: not ours
    assert data_dir("benches", package=package) == packaged
    (tmp_path / "pyproject.toml").touch()
    assert data_dir("benches", package=package) == tmp_path / "benches"
    with pytest.raises(EnvironmentFault, match=r"own folder csrc/ is missing"):
        data_dir("csrc", package=package)
