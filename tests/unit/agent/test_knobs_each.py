# SPDX-License-Identifier: Apache-2.0
"""What each knob changes, and what it says where it has nothing to change."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from harness.agent.knobs import NAMES, Outcome, all_knobs
from harness.agent.knobs.forms import CHOICE, CPU_LIST, CPU_MASK, chosen
from harness.agent.undo import Undo

from .invented import CPU, RESUME, THP, WQ, Invented

FREQUENCY = f"{CPU}/cpu3/cpufreq"


def turn(tree: Invented, name: str, measured: tuple[int, ...] = (3,)) -> tuple[Any, Outcome]:
    knob = all_knobs(tree)[name]
    housekeeping = [cpu for cpu in tree.cpus if cpu not in measured]
    return knob, knob.set(list(measured), housekeeping, Undo(tree.root, tree))


TURBO: dict[str, str | None] = {f"{CPU}/intel_pstate/no_turbo": "1", f"{CPU}/intel_pstate/min_perf_pct": "70"}

#: By knob: what is shown before, what is asked for and then read, and the files that differ then.
EFFECTS: list[tuple[str, Any, Any, dict[str, str | None]]] = [
    (
        "governor",
        {"schedutil": "0-3"},
        {"3": "performance"},
        {
            f"{FREQUENCY}/scaling_governor": "performance",
            f"{FREQUENCY}/energy_performance_preference": "performance",
            f"{FREQUENCY}/schedutil/rate_limit_us": None,
        },
    ),
    ("turbo", {"no_turbo": "0"}, {"no_turbo": "1"}, TURBO),
    ("workqueues", "0-3", "0-2", {f"{WQ}/cpumask_requested": "7"}),
    ("stat-interval", "1", "120", {"/proc/sys/vm/stat_interval": "120"}),
    ("watchdog", "0-3", "0-2", {"/proc/sys/kernel/watchdog_cpumask": "0-2"}),
    ("timer-migration", "1", "0", {"/proc/sys/kernel/timer_migration": "0"}),
    ("numa-balancing", "1", "0", {"/proc/sys/kernel/numa_balancing": "0"}),
    (
        "thp",
        {
            "enabled": "always",
            "defrag": "madvise",
            "hugepages-2048kB/enabled": "always",
            "hugepages-64kB/enabled": "inherit",
        },
        {
            "enabled": "never",
            "defrag": "never",
            "hugepages-2048kB/enabled": "never",
            "hugepages-64kB/enabled": "never",
        },
        {
            f"{THP}/hugepages-2048kB/enabled": "always inherit madvise [never]",  # and the one that inherits is left
            "/proc/sys/vm/min_free_kbytes": "22000",
            f"{THP}/enabled": "always madvise [never]",
            f"{THP}/defrag": "always defer defer+madvise madvise [never]",
        },
    ),
    (
        "compaction",
        {"unevictable": "1", "proactiveness": "20"},
        {"unevictable": "0", "proactiveness": "0"},
        {"/proc/sys/vm/compact_unevictable_allowed": "0", "/proc/sys/vm/compaction_proactiveness": "0"},
    ),
    ("ksm", "1", "0", {"/sys/kernel/mm/ksm/run": "0"}),
    ("cpu-dma-latency", {"0": "0-3"}, {"3": "n/a"}, {f"{CPU}/cpu3/{RESUME}": "n/a"}),
]


@pytest.mark.parametrize(("name", "shown", "asked", "files"), EFFECTS, ids=lambda value: str(value)[:20])
def test_what_it_changes(tmp_path: Path, name: str, shown: Any, asked: Any, files: dict[str, str | None]) -> None:
    tree = Invented(str(tmp_path))
    found = tree.everything()
    told = {"available": True, "value": shown, "reason": None, "needed": True, "advice": None}
    assert all_knobs(tree)[name].show() == told
    knob, outcome = turn(tree, name)
    assert (outcome.requested, outcome.effective, outcome.ok) == (asked, asked, True)
    assert knob.verify(outcome) is None
    assert knob.advise(outcome) is None
    now = tree.everything()
    assert {path: now.get(path) for path in found if now.get(path) != found[path]} == files
    assert all(each["ok"] for each in Undo(str(tmp_path), tree).play())
    assert tree.everything() == found
    assert "meanwhile" in str(knob.verify(outcome))


#: Files taken away (or set), the knob, part of the reason, whether that is a loss, part of the advice.
LACKS: list[tuple[dict[str, Any], dict[str, str], str, str, bool, str]] = [
    ({"cpufreq": False}, {}, "governor", "no cpufreq here", True, "host"),
    ({"turbo": "none", "cpufreq": False}, {}, "turbo", "no switch for turbo", True, "firmware"),
    ({"turbo": "none"}, {}, "turbo", "(cpufreq-dt) has no turbo to switch", False, ""),
    ({}, {"/proc/sys/vm/compact_unevictable_allowed": ""}, "compaction", "compacts no memory", False, ""),
    ({}, {"/proc/sys/vm/stat_interval": ""}, "stat-interval", "no vm.stat_interval", False, ""),
    ({}, {"/proc/sys/kernel/watchdog_cpumask": ""}, "watchdog", "no lockup detector", False, ""),
    ({}, {"/proc/sys/kernel/watchdog": "0"}, "watchdog", "the watchdog is off", False, ""),
    ({"cpus": 1}, {}, "watchdog", "no other CPU", True, "nowatchdog"),
    ({}, {f"{WQ}/cpumask_requested": ""}, "workqueues", "cannot be read", True, "isolcpus"),
    ({"cpus": 1}, {}, "workqueues", "no other CPU", True, "isolcpus"),
    ({}, {"/proc/sys/kernel/timer_migration": ""}, "timer-migration", "migrates no timers", False, ""),
    ({}, {"/proc/sys/kernel/numa_balancing": ""}, "numa-balancing", "no NUMA balancing", False, ""),
    ({}, {f"{THP}/enabled": ""}, "thp", "no transparent huge pages", False, ""),
    ({}, {"/sys/kernel/mm/ksm/run": ""}, "ksm", "merges no pages", False, ""),
    ({"units": None}, {}, "services", "and none of them", False, ""),
    ({"units": None}, {"/proc/7/comm": "irqbalance"}, "services", "running: irqbalance", True, "rc-service NAME stop"),
]


@pytest.mark.parametrize(("machine", "files", "name", "reason", "loss", "advice"), LACKS)
def test_what_it_says_where_there_is_nothing_to_set(
    tmp_path: Path, machine: dict[str, Any], files: dict[str, str], name: str, reason: str, loss: bool, advice: str
) -> None:
    tree = Invented(str(tmp_path), files=files, **machine)
    found = tree.everything()
    knob, outcome = turn(tree, name, (tree.cpus[-1],))
    assert reason in str(outcome.reason)
    assert (outcome.needed, outcome.ok) == (loss, not loss)  # a wish that this kernel cannot spoil is met
    assert advice in str(knob.advise(outcome))
    assert (knob.advise(outcome) is None) is outcome.ok
    assert knob.verify(outcome) is None
    assert tree.everything() == found
    if "no other CPU" not in reason:
        told = knob.show()
        assert (told["available"], told["needed"], told["advice"]) == (False, loss, knob.advise(outcome))


@pytest.mark.parametrize("name", [effect[0] for effect in EFFECTS])
def test_what_is_so_already_is_not_written(tmp_path: Path, name: str) -> None:
    tree = Invented(str(tmp_path))
    turn(tree, name)
    Path(tmp_path, "undo.jsonl").unlink()
    written: list[str] = []
    tree.before_change = written.append
    _, outcome = turn(tree, name)
    assert outcome.ok
    assert outcome.before == outcome.effective
    assert written == []
    assert Undo(str(tmp_path), tree).empty


@pytest.mark.parametrize(
    ("number", "code", "advice"), [(errno.EACCES, "EACCES", "become: sudo"), (errno.EROFS, "EROFS", "container")]
)
def test_who_may_not_write_is_told(tmp_path: Path, number: int, code: str, advice: str) -> None:
    class Closed(Invented):
        def write(self, path: str, value: str) -> int:
            return number

    knob, outcome = turn(Closed(str(tmp_path)), "ksm")
    assert (outcome.ok, outcome.errno, outcome.effective) == (False, code, "1")
    assert outcome.reason == "/sys/kernel/mm/ksm/run cannot be written"
    assert advice in knob.advise(outcome)


def test_a_write_that_changed_nothing_is_no_success(tmp_path: Path) -> None:
    class Deaf(Invented):
        def write(self, path: str, value: str) -> int:
            return 0

    knob, outcome = turn(Deaf(str(tmp_path)), "thp")
    assert (outcome.ok, outcome.errno) == (False, None)
    assert outcome.reason == f"{THP}/enabled reads 'always' after it was written"
    assert knob.advise(outcome) == "boot with transparent_hugepage=never"


@pytest.mark.parametrize(
    ("turbo", "files", "effective"),
    [
        ("intel", {f"{CPU}/cpufreq/boost": "1"}, {"no_turbo": "1"}),
        ("machine", {}, {"boost": "0"}),
        ("policy", {}, {"cpu3": "0"}),  # no other policy is touched
        ("policy", {f"{CPU}/cpufreq/boost": "0"}, {"boost": "0"}),  # a policy's cannot be written then, and need not
    ],
)
def test_turbo_by_the_nearest_switch(
    tmp_path: Path, turbo: str, files: dict[str, str], effective: dict[str, str]
) -> None:
    tree = Invented(str(tmp_path), turbo=turbo, files=files)
    found = tree.everything()
    _, outcome = turn(tree, "turbo")
    assert outcome.ok
    assert outcome.effective == effective
    switches = {path: text for path, text in tree.everything().items() if path.endswith(("/no_turbo", "/boost"))}
    assert sum(found[path] != text for path, text in switches.items()) <= 1
    assert all(each["ok"] for each in Undo(str(tmp_path), tree).play())
    assert tree.everything() == found  # with the owner's limits, which the switch overwrites


def test_the_machines_switch_gives_each_policy_its_own_back(tmp_path: Path) -> None:
    """Where the measured policy has none, the machine's is written, which turns all that there are."""
    own = {f"{CPU}/cpu0/cpufreq/boost": "0", f"{CPU}/cpu1/cpufreq/boost": "1"}
    tree = Invented(str(tmp_path), turbo="machine", files=own)
    assert turn(tree, "turbo")[1].effective == {"boost": "0"}
    assert all(each["ok"] for each in Undo(str(tmp_path), tree).play())
    assert {path: tree.read(path) for path in own} == own


@pytest.mark.parametrize("turbo", ["machine", "policy"])
def test_a_limit_of_a_cooling_device_is_not_made_the_owners(tmp_path: Path, turbo: str) -> None:
    device = "/sys/class/thermal/cooling_device0"
    tree = Invented(str(tmp_path), turbo=turbo, files={f"{device}/type": "cpufreq-cpu0", f"{device}/cur_state": "2"})
    turn(tree, "turbo")
    noted = {Path(entry["path"]).name for entry in Undo(str(tmp_path), tree).entries()}
    assert noted == {"boost"}


@pytest.mark.parametrize(
    ("release", "heeded"), [("6.8.0-31-generic", "all timers"), ("6.9.1", "high-resolution timers alone")]
)
def test_which_timers_heed_it(tmp_path: Path, release: str, heeded: str) -> None:
    tree = Invented(str(tmp_path), files={"/proc/sys/kernel/osrelease": release})
    _, outcome = turn(tree, "timer-migration")
    assert outcome.ok  # what the kernel cannot do is no loss
    assert outcome.detail["heeded_by"].startswith(heeded)


def test_an_older_kernel_compacts_only_when_asked(tmp_path: Path) -> None:
    tree = Invented(str(tmp_path), files={"/proc/sys/vm/compaction_proactiveness": ""})
    assert turn(tree, "compaction")[1].effective == {"unevictable": "0"}


def test_a_governor_that_is_not_there_is_refused(tmp_path: Path) -> None:
    class Without(Invented):
        def _govern(self, policy: str, governor: str) -> int | None:
            return errno.EINVAL

    knob, outcome = turn(Without(str(tmp_path)), "governor")
    assert (outcome.errno, outcome.effective) == ("EINVAL", {"3": "schedutil"})
    assert "cpufreq_performance" in knob.advise(outcome)


def test_userspace_gets_its_frequency_back(tmp_path: Path) -> None:
    tree = Invented(str(tmp_path))
    tree.write(f"{FREQUENCY}/scaling_governor", "userspace")
    tree.write(f"{FREQUENCY}/scaling_setspeed", "1400000")
    turn(tree, "governor")
    Undo(str(tmp_path), tree).play()
    assert tree.read(f"{FREQUENCY}/scaling_setspeed") == "1400000"


def test_a_sibling_of_the_measured_cpu_is_cleared_too(tmp_path: Path) -> None:
    tree = Invented(str(tmp_path), files={f"{CPU}/cpu3/topology/thread_siblings_list": "1,3"})
    for name in ("workqueues", "watchdog"):
        knob = all_knobs(tree)[name]
        assert knob.set([3], [0, 2], Undo(str(tmp_path), tree)).effective == "0,2"


def test_no_more_is_taken_than_needs_be(tmp_path: Path) -> None:
    """An owner's own mask stays, less the measured CPU; where nothing is left of it, the housekeeping ones."""
    tree = Invented(str(tmp_path), files={f"{WQ}/cpumask_requested": "1,3"})
    assert turn(tree, "workqueues")[1].effective == "1"
    tree = Invented(str(tmp_path), files={f"{WQ}/cpumask_requested": "3"})
    assert turn(tree, "workqueues")[1].effective == "0-2"


def test_pages_that_were_taken_apart_are_left_so(tmp_path: Path) -> None:
    tree = Invented(str(tmp_path), files={"/sys/kernel/mm/ksm/run": "2"})
    assert all_knobs(tree)["ksm"].show()["value"] == "2"
    assert turn(tree, "ksm")[1].ok
    assert tree.read("/sys/kernel/mm/ksm/run") == "2"


@pytest.mark.parametrize(
    ("form", "text", "value", "spelled", "back"),
    [
        (CHOICE, "always [madvise] never", "madvise", "madvise", "madvise"),
        (CHOICE, "none", "none", "none", "none"),
        (CPU_LIST, "0-2,5", "0-2,5", "0-2,5", "0-2,5"),
        (CPU_MASK, "0000,0000000f", "0-3", "f", "0000,0000000f"),
        (CPU_MASK, "01,00000001", "0,32", "1,00000001", "01,00000001"),
    ],
)
def test_what_is_printed_and_what_is_taken(form: Any, text: str, value: str, spelled: str, back: str) -> None:
    assert (form.parse(text), form.spell(value), form.back(text)) == (value, spelled, back)


def test_brackets_in_a_word_of_their_own() -> None:
    assert chosen("a [b+c] d") == "b+c"


def test_the_names_are_those_that_tune_takes() -> None:
    assert list(all_knobs(Invented("/absent"))) == list(NAMES)
    assert NAMES[0] == "services"  # before all that a service undoes as it ends
    assert set(NAMES[-4:]) == {"irq-affinity", "cpu-dma-latency", "rt-throttling", "fair-server"}  # the modes' own
