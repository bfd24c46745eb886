# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.agent.knobs import NAMES as KNOBS
from harness.agent.loads import KINDS
from harness.agent.spec import LoadSpec, ModeSpec
from harness.config.campaign import (
    COMMANDS,
    Campaign,
    campaign_from_data,
    find_campaign,
    known_campaigns,
    load_campaign,
)
from harness.config.modes import LOADS, from_mode, to_mode
from harness.config.yaml import Plain
from harness.errors import ConfigError
from harness.plan import diagnosis
from harness.store import sensitivity

BENCH = """
probe: p
params:
  threshold: {type: duration, default: 1us, min: 100ns, max: 1s}
  ring: {type: int, default: 9}
metrics:
  gap_ns: {better: lower, gate: p99.99}
  stolen_ppm: {better: lower}
"""
SMALLEST = "{campaign: laptop, targets: [local], benches: [b], axes: {mode: [shared, pinned]}, duration: 1s, repeat: 3}"


def read(tmp_path: Path, text: str) -> Campaign:
    (tmp_path / "b.yaml").write_text(BENCH)
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return load_campaign(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return [line.removeprefix(f"{tmp_path}/") for line in caught.value.problems]


def test_the_smallest(tmp_path: Path) -> None:
    campaign = read(tmp_path, SMALLEST)
    assert (campaign.name, campaign.targets, campaign.duration_ns, campaign.repeat) == ("laptop", ("local",), 10**9, 3)
    assert (campaign.settle_ns, campaign.sessions, campaign.until, campaign.quorum_percent) == (10**9, 1, None, 100.0)
    assert (campaign.retry.infrastructure, campaign.retry.invalid) == (2, 1)
    assert campaign.axes.load == (LoadSpec("idle"),)
    assert (campaign.cpus, campaign.control) == ("one", False)
    assert list(campaign.definitions) == ["b"]


FULL = """
campaign: 6.10
description: all
targets: [tag:x86, "rpi5-*"]
benches: [b, {bench: b, params: {threshold: 5us, ring: 9}}]
axes:
  mode: [shared, "fifo:50", {where: pinned, sched: "fifo:9"}]
  load: [idle, spin, {no: [dd, if=/dev/zero, 6.10, no]}]
include: [{bench: b}]
exclude: [{bench: b, mode: shared, load: [spin, "n*"]}, {target: tag:x86}]
settle: 250ms
duration: 1.5s
cpus: all
control: true
tune: [thp, services]
sessions: 4
repeat: 2
until: 06:30
retry: {infrastructure: 0, invalid: 3}
quorum: 90%
budgets:
  - {bench: b, metric: gap_ns, quantile: p99.99, at_most: 20us}
  - {bench: b, metric: stolen_ppm, at_most: 1e2}
""".replace("{no:", "{'no':")


def test_every_key_arrives_and_none_of_yamls_surprises(tmp_path: Path) -> None:
    campaign = read(tmp_path, FULL)
    assert campaign.name == "6.10"
    assert [use.params for use in campaign.benches] == [{}, {"threshold": 5_000}]
    assert campaign.axes.mode == (
        ModeSpec("shared"),
        ModeSpec("fifo50", "pinned", "fifo:50"),
        ModeSpec("pinned-fifo9", "pinned", "fifo:9"),
    )
    assert campaign.axes.load[2] == LoadSpec("no", "argv", ["dd", "if=/dev/zero", "6.10", "no"])
    assert campaign.exclude[0].load == ("spin", "n*")
    assert (campaign.settle_ns, campaign.duration_ns) == (250_000_000, 1_500_000_000)
    assert (campaign.cpus, campaign.control) == ("all", True)
    assert campaign.tune == ("thp", "services")
    assert campaign.until == "06:30"
    assert campaign.quorum_percent == 90.0
    assert [budget.limit for budget in campaign.budgets] == [20_000.0, 100.0]


def test_a_campaign_comes_back_from_json(tmp_path: Path) -> None:
    campaign = read(tmp_path, FULL)
    again = campaign_from_data(json.loads(json.dumps(campaign.to_yaml_data())), campaign.definitions)
    assert again == campaign


@pytest.mark.parametrize("value", ["shared", "fifo", "fifo:7"])
def test_modes_come_back(value: str) -> None:
    mode = to_mode(Plain(value))
    assert to_mode(from_mode(mode)) == mode


def test_loads_are_those_of_the_agent() -> None:
    assert {*LOADS, "argv"} == set(KINDS)


HEAD = "campaign: c\ntargets: [local]\nbenches: [b]\nduration: 1s\n"
RULE = "letters, digits and . _ + - only, a letter or digit first, 120 at most"
BAD: list[tuple[str, list[str]]] = [
    (HEAD + "durtion: 1s", ["c.yaml:5:1: durtion: unknown key; did you mean 'duration'?"]),
    (HEAD + "kernel: [next]", ["c.yaml:5:1: kernel: unknown key"]),
    (HEAD + "axes: {gcc: [a]}", ["c.yaml:5:8: axes.gcc: unknown key (known: boot, kernel, load, mode)"]),
    (HEAD + "axes: {kernel: [a, b, a]}", ["c.yaml:5:23: axes.kernel[2]: 'a' is listed twice"]),
    (HEAD + "axes: {boot: []}", ["c.yaml:5:14: axes.boot: the list is empty"]),
    (HEAD + "axes: {mode: [pined]}", ["c.yaml:5:15: axes.mode[0]: unknown mode 'pined'; did you mean 'pinned'?"]),
    (HEAD + "axes: {mode: []}", ["c.yaml:5:14: axes.mode: the list is empty"]),
    (HEAD + "axes: {mode: pinned}", ["c.yaml:5:14: axes.mode: expected a list, found 'pinned'"]),
    (HEAD + "axes: {mode: [fifo, fifo]}", ["c.yaml:5:21: axes.mode[1]: 'fifo' is listed twice"]),
    (HEAD + "axes: {mode: [{where: pinned, shed: x}]}", [
        "c.yaml:5:31: axes.mode[0].shed: unknown key; did you mean 'sched'?"]),
    (HEAD + "axes: {mode: [{where: moon}]}", [
        "c.yaml:5:23: axes.mode[0].where: unknown where 'moon' (known: nohz-full, partition, pinned, shared)"]),
    (HEAD + "axes: {mode: [{where: pined, sched: FIF}]}", [
        "c.yaml:5:23: axes.mode[0].where: unknown where 'pined'; did you mean 'pinned'?",
        ("c.yaml:5:37: axes.mode[0].sched: unknown sched 'FIF' (also fifo:1 to fifo:99, deadline:RUNTIME/PERIOD); "
         "did you mean 'fifo'?")]),
    (HEAD + "axes: {mode: [{where: partition, sched: 'deadline:900us/1ms'}]}", [
        ("c.yaml:5:41: axes.mode[0].sched: sched: 'deadline:900us/1ms': at most 85 % of the period: the kernel keeps "
         "5 % for other tasks, and from 6.12 another 5 % for its fair server")]),
    (HEAD + "axes: {mode: [FIFO]}", ["c.yaml:5:15: axes.mode[0]: unknown mode 'FIFO'; did you mean 'fifo'?"]),
    (HEAD + "axes: {mode: ['fifo:100']}", [
        ("c.yaml:5:15: axes.mode[0]: sched: 'fifo:100' is neither other nor fifo:1 to fifo:99 nor "
         "deadline:RUNTIME/PERIOD (deadline:500us/1ms)")]),
    (HEAD + "axes: {load: [spinn]}", [
        "c.yaml:5:15: axes.load[0]: unknown load 'spinn'; did you mean 'spin'?"]),
    (HEAD + "axes: {load: [hackbnech]}", [
        "c.yaml:5:15: axes.load[0]: unknown load 'hackbnech'; did you mean 'hackbench'?"]),
    (HEAD + "axes: {load: [stress_ng]}", [
        "c.yaml:5:15: axes.load[0]: unknown load 'stress_ng'; did you mean 'stress-ng'?"]),
    (HEAD + "axes: {load: [zz]}", [
        (f"c.yaml:5:15: axes.load[0]: unknown load 'zz' (known: {', '.join(sorted(LOADS))}); "
        "a command is written {name: [argv…]}")]),
    (HEAD + "axes: {load: [{idle: [x]}]}", [
        "c.yaml:5:15: axes.load[0]: 'idle' is a load that isolbench brings: choose another name"]),
    (HEAD + "axes: {load: [{x: [a, [b]]}]}", ["c.yaml:5:23: axes.load[0].x[1]: expected text, found a list"]),
    (HEAD + "axes: {load: [{x: []}]}", ["c.yaml:5:15: axes.load[0]: the list is empty"]),
    (HEAD + "axes: {load: [{x: [a], y: [b]}]}", [
        "c.yaml:5:15: axes.load[0]: expected one name and its command, {name: [argv…]}, found 2 names"]),
    (HEAD + "exclude: [{mode: fife}]", [
        "c.yaml:5:18: exclude[0].mode: no mode is called 'fife'; did you mean 'fifo'?"]),
    (HEAD + "exclude: [{bench: 'c*'}]", ["c.yaml:5:19: exclude[0].bench: no bench is called 'c*' (known: b)"]),
    (HEAD + "exclude: [{}]", ["c.yaml:5:11: exclude[0]: names none of target, bench, mode, load, kernel, boot"]),
    (HEAD + "exclude: [{kernal: x}]", ["c.yaml:5:12: exclude[0].kernal: unknown key; did you mean 'kernel'?"]),
    (HEAD + "exclude: [{kernel: x}]", ["c.yaml:5:20: exclude[0].kernel: no kernel is called 'x' (known: default)"]),
    (HEAD + "settle: 10", [
        "c.yaml:5:9: settle: a duration needs a unit: 10s, 10ms … (one of ns, us, ms, s, min, h)"]),
    (HEAD + "settle: 22:30:00", ["c.yaml:5:9: settle: expected a duration such as 10s or 250us, found '22:30:00'"]),
    (HEAD + "settle: 25h", ["c.yaml:5:9: settle: expected 0s to 24h, found 25h"]),
    (HEAD + "until: 6.30", ["c.yaml:5:8: until: expected a time of day such as 06:30, found '6.30'"]),
    (HEAD + "until: 24:00", ["c.yaml:5:8: until: expected a time of day such as 06:30, found '24:00'"]),
    (HEAD + "cpus: 2", ["c.yaml:5:7: cpus: unknown value '2' (known: all, one)"]),
    (HEAD + "cpus: al", ["c.yaml:5:7: cpus: unknown value 'al'; did you mean 'all'?"]),
    (HEAD + "control: yes", ["c.yaml:5:10: control: expected true or false, found 'yes'"]),
    (HEAD + "repeat: 0", ["c.yaml:5:9: repeat: expected 1 to 99999, found 0"]),
    (HEAD + "repeat: 1_000", ["c.yaml:5:9: repeat: expected a whole number, found '1_000'"]),
    (HEAD + "repeat: 1.0", ["c.yaml:5:9: repeat: expected a whole number, found '1.0'"]),
    (HEAD + "repeat: .inf", ["c.yaml:5:9: repeat: expected a whole number, found '.inf'"]),
    (HEAD + "repeat: 50000\nsessions: 2", ["c.yaml:5:9: repeat: repeat × sessions is more than 99999"]),
    (HEAD + "tune: [thp, governer]", [
        "c.yaml:5:13: tune[1]: unknown knob 'governer'; did you mean 'governor'?"]),
    (HEAD + "tune: [irqbalance]", [
        "c.yaml:5:8: tune[0]: 'irqbalance' is no knob: services stops it, with the others that meddle"]),
    (HEAD + "tune: [zzzz]", [
        f"c.yaml:5:8: tune[0]: unknown knob 'zzzz' (known: {', '.join(sorted(KNOBS))})"]),
    (HEAD.replace("[b]", "[{bench: b, params: {zz: 1}}]") + "budgets: [{bench: x, metric: gap_ns, at_most: 1us}]", [
        "c.yaml:3:35: benches[0].params.zz: bench 'b' has no such parameter (known: ring, threshold)",
        "c.yaml:5:19: budgets[0].bench: 'x' is no bench of this campaign (known: b)"]),
    (HEAD + "tune: [thp, ksm, thp]", ["c.yaml:5:18: tune[2]: 'thp' is listed twice"]),
    (HEAD + "tune: thp", ["c.yaml:5:7: tune: expected a list, found 'thp'"]),
    (HEAD + "quorum: 0.9", ["c.yaml:5:9: quorum: a percentage needs its sign: 0.9%"]),
    (HEAD + "retry: {infra: 1}", ["c.yaml:5:9: retry.infra: unknown key (known: infrastructure, invalid)"]),
    (HEAD + "budgets: [{bench: x, metric: gap_ns, at_most: 1us}]", [
        "c.yaml:5:19: budgets[0].bench: 'x' is no bench of this campaign (known: b)"]),
    (HEAD + "budgets: [{bench: b, metric: gap, at_most: 1us}]", [
        "c.yaml:5:30: budgets[0].metric: bench 'b' has no metric 'gap'; did you mean 'gap_ns'?"]),
    (HEAD + "budgets: [{bench: b, metric: gap_ns, at_most: 1us}]", [
        "c.yaml:5:11: budgets[0]: gap_ns is a histogram: say which quantile"]),
    (HEAD + "budgets: [{bench: b, metric: stolen_ppm, quantile: p9, at_most: 1}]", [
        "c.yaml:5:52: budgets[0].quantile: stolen_ppm is one number per run: it has no quantiles"]),
    (HEAD + "budgets: [{bench: b, metric: gap_ns, quantile: p99, at_most: 20}]", [
        "c.yaml:5:62: budgets[0].at_most: gap_ns: expected a duration such as 20us, found '20'"]),
    (HEAD + "budgets: [{bench: b, metric: stolen_ppm, at_most: 20us}]", [
        "c.yaml:5:51: budgets[0].at_most: stolen_ppm: expected a number, found '20us'"]),
    (HEAD + "budgets: [{bench: b, metric: gap_ns, quantile: 99, at_most: 20us}]", [
        "c.yaml:5:48: budgets[0].quantile: expected a quantile such as p99.99, found '99'"]),
    ("campaign: ../x\ntargets: []\nbenches: [bb, {bench: b, params: {treshold: 1us, ring: x}}]\nduration: 0s\n", [
        f"c.yaml:1:11: campaign: '../x' cannot be a name: {RULE}",
        "c.yaml:2:10: targets: the list is empty",
        "c.yaml:3:11: benches[0]: unknown bench 'bb'; did you mean 'b'?",
        "c.yaml:3:45: benches[1].params.treshold: bench 'b' has no such parameter; did you mean 'threshold'?",
        "c.yaml:3:56: benches[1].params.ring: expected a whole number, found 'x'",
        "c.yaml:4:11: duration: expected 1ms to 168h, found 0s"]),
    ("campaign: c\ntargets: [local]\nbenches: [{bench: b, params: {threshold: 1ns}}]\nduration: 1s", [
        "c.yaml:3:42: benches[0].params.threshold: 1ns is less than the minimum, 100ns"]),
    (HEAD.replace("campaign: c", "campaign: doctor"), [
        "c.yaml:1:11: campaign: 'doctor' is what isolbench doctor calls its own: choose another name"]),
    ("{}", [
        "c.yaml:1:1: missing key 'campaign'",
        "c.yaml:1:1: missing key 'targets'",
        "c.yaml:1:1: missing key 'benches'",
        "c.yaml:1:1: missing key 'duration'"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[text.removeprefix(HEAD)[:60] for text, _ in BAD])
def test_bad_campaigns(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert problems(tmp_path, text) == expected


def test_a_broken_bench_is_reported_beside_the_campaigns_own_faults(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("probe: [x]\nmetrics: {}\n")
    found = problems(tmp_path, HEAD.replace("[b]", "[broken]") + "repeat: x\n")
    assert found == [
        "c.yaml:3:11: benches[0]: the file of bench 'broken' has errors",
        "c.yaml:5:9: repeat: expected a whole number, found 'x'",
        "broken.yaml:1:8: probe: expected text, found a list",
    ]


def test_shipped_campaigns_are_sound() -> None:
    assert "quick" in known_campaigns()
    for name in known_campaigns():
        assert load_campaign(find_campaign(name)).name == name


def test_what_commands_make_is_known_by_their_names() -> None:
    assert set(COMMANDS) == {diagnosis.NAME, sensitivity.CAMPAIGN}


def test_finding_a_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_campaign("quick").name == "quick.yaml"
    (tmp_path / "quick").touch()
    assert find_campaign("quick") == Path("quick")
    assert find_campaign("no/such.yaml") == Path("no/such.yaml")
    with pytest.raises(
        ConfigError, match=r"no campaign 'quik': no such file, and none shipped; did you mean 'quick'\?"
    ):
        find_campaign("quik")
    (tmp_path / "two.yaml").touch()
    with pytest.raises(ConfigError, match=r"no campaign 'two': .*; did you mean 'two.yaml'\?"):
        find_campaign("two")


def test_a_command_in_one_string_is_shown_as_a_list(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, HEAD + 'axes: {load: [{dd: "dd if=/dev/zero of=/dev/null"}]}')
    assert line.startswith("c.yaml:5:20: axes.load[0].dd: a command is a list")
    assert line.endswith("{dd: [dd, if=/dev/zero, of=/dev/null]}")


def test_what_the_parts_contradict_is_said_beside_what_is_wrong_in_them(tmp_path: Path) -> None:
    text = """campaign: c
targets: [local]
benches: [b]
duration: 5
exclude: [{mode: pined}, {mode: []}, {load: spni}]
budgets:
  - {bench: b, metric: gap_ms, at_most: 20us}
  - {bench: b, metric: gap_ns}
  - {bench: c, metric: gap_ns, at_most: 20us}
"""
    found = [line.partition(": ")[::2] for line in problems(tmp_path, text)]
    assert [place for place, _ in found] == [
        "c.yaml:4:11", "c.yaml:5:18", "c.yaml:5:33", "c.yaml:5:45", "c.yaml:7:24", "c.yaml:8:5", "c.yaml:9:13",
    ]  # fmt: skip
    assert "did you mean 'pinned'?" in found[1][1]
    assert found[5][1] == "budgets[1]: missing key 'at_most'"
    assert "'c' is no bench of this campaign" in found[6][1]


@pytest.mark.parametrize("wrong", ["benches: [nothing]", "axes: {mode: [pined]}"])
def test_what_hangs_on_a_wrong_part_is_not_guessed_at(wrong: str, tmp_path: Path) -> None:
    bench = "" if wrong.startswith("benches") else "benches: [b]\n"
    text = f"campaign: c\ntargets: [local]\n{bench}duration: 1s\n{wrong}\nexclude: [{{mode: pined}}]\n"
    assert len(problems(tmp_path, text)) == 1
