# SPDX-License-Identifier: Apache-2.0
"""The eight colours of lines can be told apart by people who see red, green or blue otherwise, on light and on dark."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

_TEMPLATES = Path(__file__).parents[3] / "harness/report/templates"
STYLE = (_TEMPLATES / "report.css").read_text()
CAUSES = (_TEMPLATES / "causes.css").read_text()
Floats = NDArray[np.float64]

#: Machado, Oliveira and Fernandes (2009), severity 1, over linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
#: CIE 1976: 2.3 is just noticeable side by side; thin lines and small dots need much more.
APART = 18.0


def themes(style: str = STYLE) -> dict[str, dict[str, str]]:
    light, dark = style.split("prefers-color-scheme: dark", 1)
    return {
        name: dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part[: part.index("}")]))
        for name, part in (("light", light[light.index(":root") :]), ("dark", dark[dark.index(":root") :]))
    }


def linear(colour: str) -> Floats:
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: Floats) -> Floats:
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    light, dark = sorted((float(np.array([0.2126, 0.7152, 0.0722]) @ linear(c)) for c in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_lines_can_be_told_apart(theme: str, vision: str) -> None:
    colours = [themes()[theme][f"s{slot}"] for slot in range(8)]
    seen = [lab(VISIONS[vision] @ linear(colour)) for colour in colours]
    close = [
        (one, other)
        for one, other in combinations(range(8), 2)
        if float(np.linalg.norm(seen[one] - seen[other])) < APART
    ]
    assert not close


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_classes_of_causes_can_be_told_apart(theme: str, vision: str) -> None:
    known = themes(CAUSES)[theme]
    seen = [lab(VISIONS[vision] @ linear(known[f"k{place}"])) for place in range(4)]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)) >= APART
    assert min(contrast(known[f"k{place}"], themes()[theme]["page"]) for place in range(4)) >= 3


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_line_stands_out_from_the_page(theme: str) -> None:
    """WCAG asks for 3 to 1 of what is drawn, 4.5 to 1 of what is read."""
    known = themes()[theme]
    for slot in range(8):
        assert contrast(known[f"s{slot}"], known["page"]) >= 3
    for text in ("ink", "soft", "valid", "suspect", "invalid", "accent"):
        assert contrast(known[text], known["page"]) >= 4.5, text
