# SPDX-License-Identifier: Apache-2.0
"""An invented machine in memory, with a kernel's habits: what it prints is not what it takes, a write may be refused,
masked, or drag other files along.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.agent.services import DAEMONS, TIMERS
from harness.agent.system import Tree, format_cpus, parse_cpus, parse_mask

CPU = "/sys/devices/system/cpu"
WQ = "/sys/devices/virtual/workqueue"
THP = "/sys/kernel/mm/transparent_hugepage"
IRQ = "/proc/irq"
RESUME = "power/pm_qos_resume_latency_us"
FAIR = "/sys/kernel/debug/sched/fair_server"

GOVERNORS = ("schedutil", "powersave", "performance", "userspace", "ondemand")
TUNABLES = {"schedutil": {"rate_limit_us": "10000"}, "ondemand": {"up_threshold": "95", "sampling_rate": "4000"}}
SIZES = ("hugepages-64kB", "hugepages-2048kB")
CHOICES = {
    f"{THP}/enabled": ("always", "madvise", "never"),
    **{f"{THP}/{size}/enabled": ("always", "inherit", "madvise", "never") for size in SIZES},
    f"{THP}/defrag": ("always", "defer", "defer+madvise", "madvise", "never"),
}
NUMBERS = {
    "/proc/sys/kernel/sched_rt_runtime_us": range(-1, 1_000_001),
    "/proc/sys/vm/stat_interval": range(1 << 20),
    "/proc/sys/kernel/watchdog": range(2),
    "/proc/sys/kernel/timer_migration": range(2),
    "/proc/sys/kernel/numa_balancing": range(3),
    "/proc/sys/vm/min_free_kbytes": range(1 << 20),
    "/proc/sys/vm/compact_unevictable_allowed": range(2),
    "/proc/sys/vm/compaction_proactiveness": range(101),
    "/sys/kernel/mm/ksm/run": range(3),
    f"{CPU}/intel_pstate/min_perf_pct": range(101),
    f"{CPU}/intel_pstate/no_turbo": range(2),
    f"{CPU}/cpufreq/boost": range(2),
}


class Invented(Tree):
    """``files`` are what the kernel holds, ``units`` those that systemd runs (None: no systemd).

    ``turbo``: ``intel``, ``machine``, ``policy`` or none; ``managed``: IRQs that nobody can move; ``isolated``: CPUs of
    an isolated partition. ``before_change`` is called before each change by a write or a command.
    """

    def __init__(
        self,
        root: str,
        cpus: int = 4,
        *,
        files: Mapping[str, str] | None = None,
        units: Sequence[str] | None = ("irqbalance.service", "tuned.service", "fstrim.timer", "man-db.timer"),
        turbo: str = "intel",
        cpufreq: bool = True,
        managed: Sequence[int] = (),
        isolated: Sequence[int] = (),
    ) -> None:
        super().__init__(root)
        self.cpus = list(range(cpus))
        self.active: set[str] | None = None if units is None else set(units)
        self.managed = set(managed)
        self.isolated = set(isolated)
        self.starts: dict[str, int] = {}
        self.working: set[str] = set()  # timers' services at work
        self.commands: list[str] = []
        self.before_change: Callable[[str], None] = lambda what: None
        every = format_cpus(self.cpus)
        self.files: dict[str, str] = {
            "/proc/sys/kernel/random/boot_id": "boot",
            "/proc/sys/kernel/osrelease": "6.12.1-test",
            "/proc/sys/kernel/sched_rt_runtime_us": "950000",
            "/proc/sys/vm/stat_interval": "1",
            "/proc/sys/kernel/watchdog": "1",
            "/proc/sys/kernel/watchdog_cpumask": every,
            "/proc/sys/kernel/timer_migration": "1",
            "/proc/sys/kernel/numa_balancing": "1",
            f"{THP}/enabled": "always",
            f"{THP}/defrag": "madvise",
            **{f"{THP}/{size}/enabled": word for size, word in zip(SIZES, ("inherit", "always"), strict=True)},
            "/proc/sys/vm/min_free_kbytes": "70000",
            "/proc/sys/vm/compact_unevictable_allowed": "1",
            "/proc/sys/vm/compaction_proactiveness": "20",
            "/sys/kernel/mm/ksm/run": "1",
            f"{WQ}/cpumask_requested": every,
            f"{IRQ}/default_smp_affinity": every,
            **{f"{IRQ}/{irq}/smp_affinity_list": every for irq in range(20, 24)},
            **{f"{FAIR}/cpu{cpu}/runtime": "50000000" for cpu in self.cpus},
            **{f"{CPU}/cpu{cpu}/{RESUME}": "0" for cpu in self.cpus},
        }
        for cpu in self.cpus if cpufreq else ():
            self.files[f"{CPU}/cpu{cpu}/cpufreq/scaling_governor"] = "schedutil"
            self.files[f"{CPU}/cpu{cpu}/cpufreq/energy_performance_preference"] = "balance_performance"
            self.files[f"{CPU}/cpu{cpu}/cpufreq/scaling_setspeed"] = "<unsupported>"
            self.files[f"{CPU}/cpu{cpu}/cpufreq/schedutil/rate_limit_us"] = "10000"
            self.files[f"{CPU}/cpu{cpu}/cpufreq/scaling_driver"] = "cpufreq-dt"
            # An owner's limits, which are none of the hardware's.
            self.files[f"{CPU}/cpu{cpu}/cpufreq/scaling_min_freq"] = "1450000"
            self.files[f"{CPU}/cpu{cpu}/cpufreq/scaling_max_freq"] = "1500000"
            if turbo == "policy":
                self.files[f"{CPU}/cpu{cpu}/cpufreq/boost"] = "1"
        if turbo == "intel":
            self.files[f"{CPU}/intel_pstate/no_turbo"] = "0"
            self.files[f"{CPU}/intel_pstate/min_perf_pct"] = "100"
        elif turbo in ("machine", "policy"):
            self.files[f"{CPU}/cpufreq/boost"] = "1"
        for path, value in (files or {}).items():
            self.files.pop(path) if value == "" and path in self.files else self.files.update({path: value})

    # What it shows

    def read_bytes(self, path: str, limit: int = 1 << 22) -> bytes | None:
        if path.startswith("/dev/"):
            return super().read_bytes(path, limit)
        text = self._text(path)
        return None if text is None else (text + "\n").encode()[:limit]

    def _text(self, path: str) -> str | None:
        if path == f"{WQ}/cpumask":
            asked = self.files.get(f"{WQ}/cpumask_requested")
            return None if asked is None else self._hex(set(parse_cpus(asked)) - self.isolated or parse_cpus(asked))
        value = self.files.get(path)
        if value is None:
            return None
        if path in CHOICES:
            return " ".join(f"[{word}]" if word == value else word for word in CHOICES[path])
        if path in (f"{WQ}/cpumask_requested", f"{IRQ}/default_smp_affinity"):
            return self._hex(parse_cpus(value))
        return value

    def _hex(self, cpus: Any) -> str:
        """As %*pb prints it: all CPUs that are possible, with leading zeros, in groups of 32."""
        text = f"{sum(1 << cpu for cpu in cpus):0{-(-len(self.cpus) // 4)}x}"
        groups = [text[max(0, end - 8) : end] for end in range(len(text), 0, -8)]
        return ",".join(groups[::-1])

    def names(self, path: str) -> list[str]:
        at = path.rstrip("/") + "/"
        found = {each[len(at) :].split("/")[0] for each in self.files if each.startswith(at)}
        return sorted(found | {f"cpu{cpu}" for cpu in self.cpus if path == CPU})

    def exists(self, path: str) -> bool:
        if path.startswith("/dev/"):
            return super().exists(path)
        if path == "/run/systemd/system" or path.endswith("/systemctl"):
            return self.active is not None
        return self._text(path) is not None or bool(self.names(path))

    def everything(self) -> dict[str, Any]:
        """What has to be put back."""
        shown: dict[str, Any] = {path: self._text(path) for path in self.files}
        return {**shown, "units": sorted(self.active or ())}

    # What it takes

    def write(self, path: str, value: str) -> int:
        self.before_change(path)
        if path not in self.files and path != f"{WQ}/cpumask":
            return errno.ENOENT
        if not value:
            return 0  # a write of no bytes never reaches the file
        return self._take(path, value) or 0

    def _take(self, path: str, value: str) -> int | None:
        if path in CHOICES:
            if value not in CHOICES[path]:
                return errno.EINVAL
            if path.endswith("/enabled") and value != self.files[path]:
                self.files[path] = value
                words = [self.files.get(each) for each in CHOICES if each.endswith("/enabled")]
                self.files["/proc/sys/vm/min_free_kbytes"] = "22000" if set(words) <= {"never", "inherit"} else "67000"
        elif path in NUMBERS or path.endswith(("/runtime", "/boost")):
            if not value.lstrip("-").isdigit() or int(value) not in NUMBERS.get(path, range(1 << 40)):
                return errno.EINVAL
            if path.endswith("/cpufreq/boost"):
                return self._boost(path, value)
            if path.endswith("/no_turbo") and value == "1":
                left = min(int(self.files[path.replace("no_turbo", "min_perf_pct")]), 70)
                self.files[path.replace("no_turbo", "min_perf_pct")] = str(left)
        elif path.endswith(RESUME):
            if value != "n/a" and not value.isdigit():
                return errno.EINVAL
        elif path in (f"{WQ}/cpumask", f"{IRQ}/default_smp_affinity"):
            cpus = set(parse_mask(value)) & set(self.cpus)
            if not cpus:
                return errno.EINVAL
            self.files[path.replace("workqueue/cpumask", "workqueue/cpumask_requested")] = format_cpus(cpus)
            return None
        elif path.endswith("/smp_affinity_list"):
            if int(path.split("/")[3]) in self.managed:
                return errno.EIO
            if not parse_cpus(value):
                return errno.EINVAL
        elif path.endswith("/watchdog_cpumask"):
            value = format_cpus(parse_cpus(value))
        elif path.endswith("/scaling_governor"):
            return self._govern(path.rpartition("/")[0], value)
        elif path.endswith("/energy_performance_preference"):
            if self.files[path.replace("energy_performance_preference", "scaling_governor")] == "performance":
                return errno.EBUSY
        elif path.endswith("/scaling_min_freq"):
            value = min(value, self.files[path.replace("_min_", "_max_")], key=int)
        elif path.endswith("/scaling_setspeed"):
            if self.files[path] == "<unsupported>":
                return errno.EINVAL
        elif "/cpufreq/" not in path:
            return errno.EACCES
        self.files[path] = value
        return None

    def _boost(self, path: str, value: str) -> int | None:
        """With a policy's switch, its limits are set anew, whatever the owner made of them."""
        machine = path == f"{CPU}/cpufreq/boost"
        if not machine and self.files[f"{CPU}/cpufreq/boost"] == "0":
            return errno.EINVAL
        if value == self.files[path]:
            return None
        self.files[path] = value
        for policy in [f"{CPU}/cpu{cpu}/cpufreq" for cpu in self.cpus] if machine else [path.rpartition("/")[0]]:
            if f"{policy}/scaling_max_freq" in self.files:
                most = "1800000" if value == "1" else "1400000"
                self.files[f"{policy}/scaling_max_freq"] = most
                least = min(self.files[f"{policy}/scaling_min_freq"], most, key=int)
                self.files[f"{policy}/scaling_min_freq"] = least
            if f"{policy}/boost" in self.files:
                self.files[f"{policy}/boost"] = value
        return None

    def _govern(self, policy: str, governor: str) -> int | None:
        old = self.files[f"{policy}/scaling_governor"]
        if governor not in GOVERNORS:
            return errno.EINVAL
        if governor == old:
            return None
        for name in TUNABLES.get(old, {}):
            del self.files[f"{policy}/{old}/{name}"]
        for name, text in TUNABLES.get(governor, {}).items():
            self.files[f"{policy}/{governor}/{name}"] = text
        self.files[f"{policy}/scaling_governor"] = governor
        preference = "performance" if governor == "performance" else "balance_performance"
        self.files[f"{policy}/energy_performance_preference"] = preference
        self.files[f"{policy}/scaling_setspeed"] = "800000" if governor == "userspace" else "<unsupported>"
        return None

    # systemd

    def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
        assert self.active is not None
        assert argv[1:3] == ["--no-ask-password", "--no-pager"]
        verb, units = argv[3], list(argv[argv.index("--") + 1 :])
        if verb == "show":
            return 0, "\n\n".join(self._unit(unit) for unit in units) + "\n", ""
        self.commands.append(" ".join([verb, *units]))
        for unit in units:
            self.before_change(unit)
            if verb == "stop":
                self.active.discard(unit)
            elif verb == "reset-failed":
                self.starts.pop(unit, None)
            elif self.starts.get(unit, 0) >= 5:
                return (
                    1,
                    "",
                    f'To force a start use "systemctl reset-failed {unit}" followed by "systemctl start {unit}".',
                )
            elif unit not in self.active:
                self.starts[unit] = self.starts.get(unit, 0) + 1
                self.active.add(unit)
        return 0, "", ""

    def _unit(self, unit: str) -> str:
        assert self.active is not None
        known = unit in self.active or unit in DAEMONS or unit in TIMERS or unit in self.working
        state = "active" if unit in self.active else "activating" if unit in self.working else "inactive"
        return f"LoadState={'loaded' if known else 'not-found'}\nActiveState={state}"
