# SPDX-License-Identifier: Apache-2.0
"""docs/causes.md, from what advice knows: ``python -m tests.unit.causes_page > docs/causes.md``."""

from __future__ import annotations

from harness.advice.known import KNOWN
from harness.advice.measures import MEASURES, Measure
from harness.advice.table import Known

HEAD = """# What removes what

What [attribution](probes.md#attribution) finds, what it is in words, and what removes it or makes it rarer: what helps
most first. [`doctor`](doctor.md) and reports read this table, and say of each remedy whether it is in effect on the
target. A name is a pattern; of two that fit the first counts. Ordinary tasks and kernel work come in the place of
one of SCHED_FIFO only where the scheduler lets them in: of such a run their first remedies are `fair-server` and
`rt-throttling`. This page is written from the table in `harness/advice/`, and a test holds it to it.

## Causes

| cause | what it is | what removes it |
| --- | --- | --- |
"""
MEASURES_HEAD = """
## Remedies

`CPU` stands for the measured one. Documentation is named by its place in the kernel's `Documentation/`, or is a manual
page.

| remedy | whose | what | documentation |
| --- | --- | --- | --- |
"""
WHOSE = {
    "boot": "boot parameter",
    "knob": "[knob](knobs.md), `tune`",
    "kernel-option": "kernel's build",
    "application": "application",
    "host": "firmware, host",
}


def cause(known: Known) -> str:
    names = ", ".join(f"`{known.kind}:{name}`" if name != "*" else f"`{known.kind}`" for name in known.names)
    return f"| {names} | {known.words} | {', '.join(known.measures)} |\n"


def measure(key: str, found: Measure) -> str:
    return f"| {key} | {WHOSE[found.kind]} | {found.text.replace('{cpu}', 'CPU')} | {found.doc} |\n"


def text() -> str:
    return HEAD + "".join(map(cause, KNOWN)) + MEASURES_HEAD + "".join(measure(*each) for each in MEASURES.items())


if __name__ == "__main__":
    print(text(), end="")
