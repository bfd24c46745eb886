# SPDX-License-Identifier: Apache-2.0
"""Count boards of the kernels there are: one boot of each, with and without isolation, answers all that is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.deadline import Deadline
from harness.lab import count
from harness.lab.count import Counted
from harness.lab.images import Image

SECONDS = 3
#: Attribution notes what a tick's handling takes, which is less than a millisecond even here.
GAP = ["gap", "--cpu", "1", "--duration", f"{SECONDS}s", "--threshold", "10us", "--attribution", "perf"]
#: As busy as the measured one: an idle CPU does not tick. Gaps over a millisecond are the host's doing.
CONTROL = ["gap", "--cpu", "0", "--duration", f"{SECONDS}s", "--threshold", "1ms"]
QUIET = ("isolcpus=managed_irq,domain,1", "nohz_full=1", "rcu_nocbs=1")
#: A board takes some ten seconds, and several times that beside others; one that panics is not waited for.
PATIENCE_S = 300.0

KERNELS = [
    ("bookworm-x86_64", "stock"),
    ("bookworm-x86_64", "rt"),
    ("trixie-x86_64", "stock"),
    ("trixie-x86_64", "rt"),
    ("bookworm-aarch64", "stock"),
]

#: Emulated CPUs that take turns: two that are busy are there half of the time each (docs/lab.md).
TURNS = {"trixie-x86_64"}


class Counting:
    """What boards counted, each asked once but where one is asked again."""

    def __init__(self, image: Callable[[str], Image]) -> None:
        self._image = image
        self._asked: dict[tuple[str, str, tuple[str, ...]], Counted] = {}

    def hz(self, name: str, flavour: str) -> int:
        return self._image(name).kernels[flavour].hz

    def __call__(self, name: str, flavour: str, append: Sequence[str] = (), *, again: bool = False) -> Counted:
        """The measured CPU's gaps with their causes; beside them a control, but where CPUs take turns and none has to
        tell that the other one is quiet."""
        asked = (name, flavour, tuple(append))
        if again or asked not in self._asked:
            beside = () if name in TURNS and not append else CONTROL
            self._asked[asked] = self.run(name, flavour, GAP, beside=beside, append=append)
        return self._asked[asked]

    def run(
        self, name: str, flavour: str, job: Sequence[str], *, beside: Sequence[str] = (), append: Sequence[str] = ()
    ) -> Counted:
        """A boot for ``job`` alone."""
        image = self._image(name)
        counted = count.run(
            image.arch, image.kernels[flavour], job, beside=beside, append=append, deadline=Deadline.after(PATIENCE_S)
        )
        assert counted.status == 0, counted.stderr
        assert counted.result is not None
        return counted
