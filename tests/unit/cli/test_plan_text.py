# SPDX-License-Identifier: Apache-2.0
"""What `plan` prints: variants of a bench apart, what will not run not counted, targets that are alike together."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from harness.campaign import facts_cache
from harness.config.inventory import load_inventory

from .test_cli import isolbench

CAMPAIGN = """campaign: c
targets: ["b*"]
benches: [gap, {bench: gap, params: {threshold: 5us}}]
axes: {mode: [shared, fifo]}
settle: 0s
duration: 1s
"""
INVENTORY = """targets:
  "b[1-8]": {address: "{name}.lan"}
  b3: {disabled: "PSU dead"}
  b4: {disabled: "PSU dead"}
"""
FACTS: dict[str, Any] = {
    "cpus": {"online": [0, 1], "isolated": [], "nohz_full": [], "allowed": [0, 1], "topology": {}},
    "privileges": {"sys_nice": True},
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "c.yaml").write_text(CAMPAIGN)
    (tmp_path / "i.yaml").write_text(INVENTORY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def know(lab: Path, name: str, **privileges: object) -> None:
    target = load_inventory(lab / "i.yaml").targets[name]
    facts_cache.remember(target, {**FACTS, "privileges": {**FACTS["privileges"], **privileges}})


def text(lab: Path, *more: str, code: int = 0) -> list[str]:
    done = isolbench("plan", "c.yaml", "-i", "i.yaml", *more, cwd=lab)
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines()


def test_variants_of_a_bench_have_names(lab: Path) -> None:
    rows = [re.split(r"  +", line.strip()) for line in text(lab, "-t", "b1")]
    assert [row[0] for row in rows if row[1:2] == ["shared"]] == ["gap", "gap threshold=5us"]


def test_what_a_target_cannot_do_takes_no_time(lab: Path) -> None:
    know(lab, "b1", sys_nice=False, rtprio_limit=0)
    lines = text(lab, "-t", "b1")
    assert re.fullmatch(r"b1: 2 of 4 runs \(4 cells x 1 run\), 5 s \(as of \d\d:\d\d; --contact asks again\)", lines[0])
    assert lines[-1] == "c: 2 of 4 runs, about 5 s without retries; 2 cells unsupported"
    assert sum(line.endswith("1 s       no (1)") for line in lines) == 2
    assert sum("  (1) fifo:1 needs CAP_SYS_NICE" in line for line in lines) == 1  # a reason that many share, once
    found = json.loads("\n".join(text(lab, "-t", "b1", "--json")))
    assert (found["runs"], found["runs_feasible"], found["seconds"]) == (4, 2, 5.2)
    assert [cell["would_run"] for cell in found["cells"]] == ["yes", "no"] * 2
    assert [cell["reason"] is None for cell in found["cells"]] == [True, False] * 2


def test_old_facts_have_their_date(lab: Path) -> None:
    know(lab, "b1")
    [path] = (lab / "cache").rglob("b1-*.json")
    os.utime(path, (10**9, 10**9))
    assert "(as of 2001-09-09 " in text(lab, "-t", "b1")[0]


def test_targets_that_are_alike_are_shown_once(lab: Path) -> None:
    know(lab, "b8", sys_nice=False, rtprio_limit=0)
    lines = text(lab)
    heads = [line for line in lines if line.startswith("b")]
    assert heads[0] == "b1, b2, b5, b6, b7: 4 runs (4 cells x 1 run on each), 7 s"
    assert heads[1].startswith("b8: 2 of 4 runs (4 cells x 1 run), 5 s (as of ")
    assert heads[2] == "b3, b4: disabled: PSU dead"
    assert lines[-1] == "c: 22 of 24 runs, about 7 s without retries, targets side by side; 2 cells unsupported"


def test_many_names_are_cut(lab: Path) -> None:
    (lab / "i.yaml").write_text('targets:\n  "b[01-48]": {address: "{name}.lan"}\n')
    assert text(lab)[0].startswith("b01, b02, b03, b04, ... b48 (48 targets): 4 runs (4 cells x 1 run on each)")


def test_where_it_would_be_measured(lab: Path) -> None:
    assert not [line for line in text(lab, "-t", "b1") if "CPU" in line]  # nothing is known yet
    know(lab, "b1")
    assert text(lab, "-t", "b1")[1] == "  measured CPU 1, housekeeping CPU 0"
    assert text(lab, "-t", "b1", "--set", "control=true")[1] == "  measured CPU 1, housekeeping CPU 0, control CPU 0"
    [target] = json.loads("\n".join(text(lab, "-t", "b1", "--json")))["targets"].values()
    assert target["placement"] == {"measured": [1], "housekeeping": [0], "helpers": [], "control": None, "notes": []}


def test_all_cpus_with_their_helpers_and_the_notes_on_them(lab: Path) -> None:
    target = load_inventory(lab / "i.yaml").targets["b1"]
    cpus = {"online": list(range(6)), "allowed": list(range(6)), "isolated": [2, 3, 4, 5, 7], "topology": {}}
    facts_cache.remember(target, {**FACTS, "cpus": cpus})
    (lab / "c.yaml").write_text(
        CAMPAIGN.replace("gap, {bench: gap, params: {threshold: 5us}}", "xwake") + "cpus: all\n"
    )
    lines = text(lab, "-t", "b1")
    assert lines[1:4] == [
        "  measured CPU 2-5, housekeeping CPU 0-1, helper CPU 1",
        "  note: isolated, but offline or not allowed: CPU 7",
        "  note: the helpers of 4 measured CPUs share CPU 1",
    ]
    assert any("no: cpus: all measures each CPU by a task of its own" in line for line in lines)


def test_who_would_be_measured_elsewhere_is_shown_apart(lab: Path) -> None:
    for name in ("b1", "b2"):
        know(lab, name)
    target = load_inventory(lab / "i.yaml").targets["b5"]
    facts_cache.remember(target, {**FACTS, "cpus": {**FACTS["cpus"], "isolated": [0]}})
    lines = text(lab, "-t", "b1", "-t", "b2", "-t", "b5")
    heads = [line.partition(":")[0] for line in lines if line.startswith("b")]
    assert heads == ["b1, b2", "b5"]


def test_all_where_nothing_is_isolated_runs_nothing(lab: Path) -> None:
    know(lab, "b1")
    lines = text(lab, "-t", "b1", "--set", "cpus=all", "--set", "mode=pinned", code=4)
    assert any("(1) cpus: all measures every isolated CPU, and none is isolated here" in line for line in lines)
    assert lines[-1].startswith("c: 0 of 2 runs")


def test_two_names_that_were_found_to_be_one_machine(lab: Path) -> None:
    """As `run` would say it, which asks the same facts; one of them alone is no mistake."""
    for name in ("b1", "b2"):
        facts_cache.remember(load_inventory(lab / "i.yaml").targets[name], {**FACTS, "boot_id": "b-1"})
    done = isolbench("plan", "c.yaml", "-i", "i.yaml", cwd=lab)
    assert (done.returncode, done.stdout) == (2, "")
    assert "b1 and b2 are two names of one machine (boot id b-1)" in done.stderr
    assert "isolbench plan --contact" in done.stderr
    assert text(lab, "-t", "b1")[0].startswith("b1: 4 runs")


def test_an_exclude_that_takes_nothing_is_told(lab: Path) -> None:
    (lab / "c.yaml").write_text(CAMPAIGN + "exclude: [{load: spin}, {mode: fifo}]\n")
    notes = [line for line in text(lab, "-t", "b1") if line.startswith("note: ")]
    assert notes == ["note: c.yaml:7:11: exclude[0]: it takes no cell away"]


def test_a_bench_file_that_its_probe_belies(lab: Path) -> None:
    (lab / "mine.yaml").write_text("probe: gapp\nmetrics: {gap_ns: {better: lower, gate: p99}}\n")
    (lab / "c.yaml").write_text(CAMPAIGN.replace("benches: [gap,", "benches: [mine,"))
    done = isolbench("plan", "c.yaml", "-i", "i.yaml", cwd=lab)
    assert (done.returncode, done.stdout) == (2, "")
    assert "mine.yaml:1:8: probe: there is no probe 'gapp'; did you mean 'gap'?" in done.stderr


def test_a_knob_that_a_target_lacks_is_told_before_it_costs_a_night(lab: Path) -> None:
    assert not [line for line in text(lab, "-t", "b1") if "tune" in line]
    assert text(lab, "-t", "b1", "--set", "tune=thp,governor")[1] == "  tune: thp, governor"  # nothing is known yet
    target = load_inventory(lab / "i.yaml").targets["b1"]
    knobs = {
        "thp": {"available": True, "reason": None, "needed": True},
        "ksm": {"available": False, "reason": "this kernel merges no pages", "needed": False},
        "governor": {"available": False, "reason": "no cpufreq here", "needed": True},
    }
    facts_cache.remember(target, {**FACTS, "knobs": knobs})
    lines = text(lab, "-t", "b1", "--set", "tune=thp,ksm,governor")
    assert lines[2:4] == [
        "  tune: thp, ksm, governor",
        "  note: tune governor: no cpufreq here; its runs will be suspect",
    ]
    found = json.loads("\n".join(text(lab, "-t", "b1", "--set", "tune=thp,ksm,governor", "--json")))
    assert found["targets"]["b1"]["tune_lacks"] == {"governor": "no cpufreq here"}
    assert found["cells"][0]["tune"] == ["governor", "ksm", "thp"]


BOOTS = """campaign: c
targets: [pi, nuc]
benches: [gap]
axes: {kernel: [default, rt], boot: [plain, quiet], mode: [pinned, nohz-full]}
sessions: 3
settle: 0s
duration: 1s
"""
BOOTED = """targets:
  nuc: {address: n, boot: kexec, isolated: 1}
  pi: {address: p, boot: tryboot, isolated: 3}
kernels: {rt: {installed: "*-rt-*"}}
boots: {quiet: {add: "nohz_full={isolated} splash=off", remove: [debug, quiet]}}
"""


@pytest.fixture
def booting(lab: Path) -> Path:
    (lab / "c.yaml").write_text(BOOTS)
    (lab / "i.yaml").write_text(BOOTED)
    nuc = load_inventory(lab / "i.yaml").targets["nuc"]
    kernel = {"release": "6.1.0-50-amd64", "cmdline": "root=/dev/sda quiet splash"}
    lies = {"installed": ["6.1.0-50-amd64", "6.1.0-50-rt-amd64"]}
    facts_cache.remember(nuc, {**FACTS, "arch": "x86_64", "kernel": kernel, "kernels": lies})
    facts_cache.remember_boots(nuc, {"kexec": [18.0, 22.0]})
    return lab


def test_boots_their_turns_and_their_time(booting: Path) -> None:
    found = json.loads(isolbench("plan", "c.yaml", "-i", "i.yaml", "--json", cwd=booting).stdout)["targets"]
    nuc, pi = found["nuc"], found["pi"]
    assert (nuc["boots"], nuc["booting"]["method"], nuc["booting"]["boot_s"]) == (4 * 3 + 1, "kexec", 20.0)
    assert nuc["seconds"] == 3.0 + 21 * 1.1 + 13 * 20.0  # nohz-full is refused as the machine boots by itself
    assert (pi["seconds"], pi["booting"]["boot_s"]) == (3.0 + 24 * 1.1 + 13 * 60.0, 60.0)
    both = [{"kernel": kernel, "boot": boot} for kernel in ("default", "rt") for boot in ("plain", "quiet")]
    assert sorted(nuc["booting"]["turn"], key=str) == sorted(both, key=str)
    cells = json.loads(isolbench("plan", "c.yaml", "-i", "i.yaml", "--json", cwd=booting).stdout)["cells"]
    why = {(each["mode"], each["kernel"], each["boot"]): each["would_run"] for each in cells if each["target"] == "nuc"}
    assert why["nohz-full", "default", "plain"] == "no"
    assert why["nohz-full", "default", "quiet"] == why["pinned", "rt", "plain"] == "unknown"


def test_what_a_profile_changes_there(booting: Path) -> None:
    found = json.loads(isolbench("plan", "c.yaml", "-i", "i.yaml", "--json", cwd=booting).stdout)["targets"]
    added = ["nohz_full=1", "splash=off", "panic=10"]
    assert found["nuc"]["booting"]["profiles"]["quiet"] == {
        "added": added,
        "removed": ["quiet", "splash"],
        "known": True,
    }
    assert found["nuc"]["booting"]["kernels"] == {
        "default": "6.1.0-50-amd64", "rt": "installed *-rt-*: 6.1.0-50-rt-amd64",
    }  # fmt: skip
    assert found["pi"]["booting"]["profiles"]["quiet"] == {
        "added": ["nohz_full=3", "splash=off"], "removed": ["debug", "quiet"], "known": False,
    }  # fmt: skip
    lines = text(booting)
    assert "  boot quiet: +nohz_full=1 +splash=off +panic=10 -quiet -splash" in lines
    assert any(
        line.startswith("  3 sessions of each, a boot by kexec before each (some 20 s), in turns") for line in lines
    )
    assert any("gap kernel=rt boot=quiet  nohz-full" in line and "until it is booted" in line for line in lines)


def test_a_plan_that_boots_nothing_says_nothing_of_it(lab: Path) -> None:
    found = json.loads(isolbench("plan", "c.yaml", "-i", "i.yaml", "--json", cwd=lab).stdout)
    assert {target["booting"] for target in found["targets"].values()} == {None}
    assert "session" not in " ".join(text(lab))
