# SPDX-License-Identifier: Apache-2.0
"""docs/knobs.md and the knobs hold each other: names, order, files, values, and who sets what by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.agent.knobs import NAMES, all_knobs
from harness.agent.knobs.base import FilesKnob
from harness.agent.modes import MODES
from harness.agent.services import DAEMONS, TIMERS
from harness.agent.undo import Undo
from harness.config.campaign import load_campaign

from .invented import Invented

DOC = (Path(__file__).parents[3] / "docs" / "knobs.md").read_text()
PARTS = re.split(r"^## (.+)$", DOC, flags=re.MULTILINE)
SECTIONS = dict(zip(PARTS[1::2], PARTS[2::2], strict=True))
LABELS = ["File", "Value", "Set by itself", "Needs", "Put back", "Documentation"]


def points(name: str) -> dict[str, str]:
    found = re.findall(r"^- ([A-Z][a-z ]+): (.*?)(?=^- |\Z)", SECTIONS[name], flags=re.MULTILINE | re.DOTALL)
    return {label: " ".join(text.split()) for label, text in found}


def test_every_knob_is_on_the_page_and_no_other_in_the_order_of_setting() -> None:
    assert tuple(SECTIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_says_all_of_it(name: str) -> None:
    assert [label for label in points(name) if label in LABELS] == LABELS
    assert re.match(r"\n\n[A-Z]", SECTIONS[name])  # first what it is for


@pytest.mark.parametrize("name", NAMES)
def test_who_sets_it_by_itself(name: str) -> None:
    sets = [mode.name for mode in MODES if name in mode.knobs]
    text = points(name)["Set by itself"]
    if sets:
        assert text == f"by {', '.join(f'`{mode}`' for mode in sets)}."
    else:
        assert text.startswith("never.")


class Noting(Invented):
    """Keeps what is written."""

    written: list[tuple[str, str]]

    def write(self, path: str, value: str) -> int:
        self.written.append((path, value))
        return super().write(path, value)


@pytest.mark.parametrize("turbo", ["intel", "machine", "policy"])
@pytest.mark.parametrize("name", NAMES)
def test_the_files_that_it_writes_are_named_with_their_values(tmp_path: Path, name: str, turbo: str) -> None:
    tree = Noting(str(tmp_path), turbo=turbo)
    tree.written = []
    knob = all_knobs(tree)[name]
    outcome = knob.set([3], [0, 1, 2], Undo(str(tmp_path), tree))
    says = points(name)
    for path, value in tree.written:
        named = re.sub(r"/irq/[0-9]+/", "/irq/*/", path.replace("cpu3", "cpuN"))
        named = re.sub(r"/hugepages-[0-9]+kB/", "/hugepages-*/", named)
        assert f"`{named}`" in says["File"]
        assert f"`{value}`" in says["Value"] or "without those CPUs" in says["Value"]
    if isinstance(knob, FilesKnob):
        assert outcome.ok
        assert tree.written


def listed(units: Sequence[str]) -> set[str]:
    return {unit.partition(".")[0].partition("-")[0].removesuffix("daily") for unit in units}


def test_the_services_named_are_in_the_list() -> None:
    text = SECTIONS["services"]
    named = set(re.findall(r"\b(irqbalance|tuned|thermald|power-profiles-daemon|auto-cpufreq|numad|ksmtuned)\b", text))
    assert {f"{name}.service" for name in named} <= set(DAEMONS)
    assert listed(TIMERS) >= {"apt", "dnf", "fstrim", "logrotate", "man", "updatedb"}


def test_the_example_is_read(tmp_path: Path) -> None:
    [block] = re.findall(r"^```yaml\n(.*?)^```$", DOC, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "quiet.yaml"
    path.write_text(block)
    assert load_campaign(path).tune == ("services", "governor", "thp")
