# SPDX-License-Identifier: Apache-2.0
"""Whatever is set, killed, cut short, restored and meddled with: in the end the machine is as it was found."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.agent.knobs import NAMES, all_knobs
from harness.agent.undo import Undo

from .invented import CHOICES, CPU, GOVERNORS, IRQ, NUMBERS, WQ, Invented
from .sequences import Sequence, thoroughly

#: What somebody else may write, at any time.
FOREIGN: list[tuple[str, str]] = [
    *((path, word) for path, words in CHOICES.items() for word in words),
    *((path, str(number)) for path, numbers in NUMBERS.items() for number in list(numbers)[:3]),
    *((f"{CPU}/cpu{cpu}/cpufreq/scaling_governor", governor) for cpu in range(4) for governor in GOVERNORS),
    *((f"{CPU}/cpu{cpu}/cpufreq/boost", text) for cpu in range(4) for text in "01"),
    *((f"{CPU}/cpu{cpu}/cpufreq/schedutil/rate_limit_us", "2000") for cpu in range(4)),
    *((f"{IRQ}/{irq}/smp_affinity_list", cpus) for irq in range(20, 24) for cpus in ("0", "0-1", "1-3")),
    (f"{IRQ}/default_smp_affinity", "5"),
    (f"{WQ}/cpumask", "6"),
    (f"{WQ}/cpumask", "f"),
    ("/proc/sys/kernel/watchdog_cpumask", "0,2"),
    ("/proc/sys/kernel/watchdog_cpumask", "\n"),
]

machines = st.fixed_dictionaries(
    {
        "cpus": st.sampled_from((2, 4, 8, 40)),
        "turbo": st.sampled_from(("intel", "machine", "policy", "none")),
        "cpufreq": st.booleans(),
        "managed": st.sampled_from(((), (21,))),
        "isolated": st.sampled_from(((), (1,))),
        "units": st.sampled_from((None, (), ("tuned.service", "fstrim.timer"))),
    }
)
knobs = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
steps = st.one_of(
    st.tuples(st.just("set"), knobs, st.integers(0, 3), st.integers(0, 40), st.integers(0, 1 << 20)),
    st.tuples(st.just("restore"), st.none(), st.just(0), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("some"), knobs, st.just(0), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("foreign"), st.sampled_from(FOREIGN), st.just(0), st.just(0), st.just(0)),
)


class Tuned(Sequence):
    tree: Invented

    def __init__(self, folder: str, machine: dict[str, Any]) -> None:
        super().__init__(folder, Invented(folder, **machine))

    def covered(self) -> set[str]:
        """What the journal speaks for."""
        return {str(entry.get("path") or entry.get("unit")) for entry in Undo(self.folder, self.tree).entries()}

    def take(self, kind: str, what: Any, cpu: int, life: int, cut: int) -> None:
        if kind == "foreign":
            self._meddle(*what)
            return
        with self.life(life, cut) as undo:
            if kind == "set":
                self._set(undo, what, cpu % len(self.tree.cpus))
            else:
                undo.play(only=frozenset(what) if what else None)

    def _set(self, undo: Undo, names: list[str], measured: int) -> None:
        for name, knob in all_knobs(self.tree).items():
            if name in names:
                knob.set([measured], [cpu for cpu in self.tree.cpus if cpu != measured], undo)

    def _meddle(self, path: str, value: str) -> None:
        if path == f"{CPU}/cpufreq/boost" and f"{CPU}/cpu0/cpufreq/boost" in self.tree.files:
            return  # with that off the kernel takes no policy's any more: then the undo says so, and keeps its entry
        was = self.tree.everything()
        self.tree.write(path, value)
        ours = self.covered()
        now = self.tree.everything()
        # It stays as they left it, with what it dragged along; but for what is ours to put back.
        for each in now.keys() | was.keys() if path not in ours else ():
            if each not in ours and (each == path or now.get(each) != was.get(each)):
                self.expected.pop(each, None)
                if each in now:
                    self.expected[each] = now[each]
        if path == f"{WQ}/cpumask" and path not in ours:
            self.expected[f"{WQ}/cpumask_requested"] = now[f"{WQ}/cpumask_requested"]


@thoroughly
@given(machine=machines, taken=st.lists(steps, min_size=1, max_size=10))
def test_the_machine_is_as_it_was_found(memory: str, machine: dict[str, Any], taken: list[Any]) -> None:
    Tuned(memory, machine).run(taken)
