# SPDX-License-Identifier: Apache-2.0
"""Is a knob, as facts show it, what ``tune`` would make of it for one CPU? Pure; docs/knobs.md has the values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .cpulists import cpus_of


def _lists(value: object, cpu: int) -> bool:
    """Is the CPU on a list such as ``0-2,5``?"""
    return cpu in cpus_of(str(value), [cpu])


def _reads(*words: str) -> Callable[[Any, int], bool | None]:
    return lambda value, _cpu: value in words


def _all_read(*words: str) -> Callable[[Any, int], bool | None]:
    return lambda value, _cpu: all(each in words for each in value.values()) if isinstance(value, Mapping) else None


def _without(value: Any, cpu: int) -> bool | None:
    return not _lists(value, cpu)


def _no_list_has(value: Any, cpu: int) -> bool | None:
    return not any(_lists(cpus, cpu) for cpus in value.values()) if isinstance(value, Mapping) else None


def _cpu_reads(word: str) -> Callable[[Any, int], bool | None]:
    """Of ``{text: CPU list}``: what the CPU's own file reads."""

    def rule(value: Any, cpu: int) -> bool | None:
        if not isinstance(value, Mapping):
            return None
        return any(_lists(cpus, cpu) for text, cpus in value.items() if text == word)

    return rule


def _by_cpu(word: str) -> Callable[[Any, int], bool | None]:
    """Of ``{CPU: text}``."""
    return lambda value, cpu: value[str(cpu)] == word if isinstance(value, Mapping) and str(cpu) in value else None


def _turbo(value: Any, cpu: int) -> bool | None:
    if not isinstance(value, Mapping):
        return None
    if "no_turbo" in value:
        return bool(value["no_turbo"] == "1")
    if "policies" in value:
        return _cpu_reads("0")(value["policies"], cpu)
    return bool(value.get("boost") == "0")


_RULES: Mapping[str, Callable[[Any, int], bool | None]] = {
    "services": lambda value, _cpu: not value if isinstance(value, list) else None,
    "governor": _cpu_reads("performance"),
    "turbo": _turbo,
    "workqueues": _without,
    "stat-interval": _reads("120"),
    "watchdog": _without,
    "timer-migration": _reads("0"),
    "numa-balancing": _reads("0"),
    "thp": _all_read("never", "inherit"),
    "compaction": _all_read("0"),
    "ksm": _reads("0", "2"),
    "irq-affinity": _no_list_has,
    "cpu-dma-latency": _cpu_reads("n/a"),
    "rt-throttling": _reads("-1"),
    "fair-server": _by_cpu("0"),
}
NAMES = tuple(_RULES)


def granted(name: str, value: Any, cpu: int) -> bool | None:
    """None where the value does not say."""
    rule = _RULES.get(name)
    return None if rule is None or value is None else rule(value, cpu)
