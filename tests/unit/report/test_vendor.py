# SPDX-License-Identifier: Apache-2.0
"""The plotting library is what was published, with its licence, and does nothing that the page's policy forbids."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
VENDOR = ROOT / "harness/report/vendor"
TOLD = re.findall(r"^\| `([^`]+)` \| `[^`]+` \| `([0-9a-f]{64})` \|$", (VENDOR / "README.md").read_text(), re.M)


@pytest.mark.parametrize(("name", "sha256"), TOLD)
def test_each_file_is_the_published_one(name: str, sha256: str) -> None:
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == sha256


def test_every_file_is_told() -> None:
    assert sorted(path.name for path in VENDOR.iterdir()) == sorted(["README.md", *(name for name, _ in TOLD)])
    version = re.search(r"uPlot\]\([^)]*\) ([0-9.]+) ", (VENDOR / "README.md").read_text())
    assert version
    assert f"(v{version[1]})" in (VENDOR / "uPlot.iife.min.js").read_text()[:80]


def test_its_licence_goes_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "harness/report/vendor/uPlot.LICENSE" in project["license-files"]
    assert project["license"] == "Apache-2.0 AND MIT"
    assert (VENDOR / "uPlot.LICENSE").read_text().startswith("The MIT License")


def test_it_needs_nothing_that_the_policy_forbids() -> None:
    script, style = ((VENDOR / name).read_text() for name in ("uPlot.iife.min.js", "uPlot.min.css"))
    for forbidden in (
        "eval(",
        "new Function",
        "</script",
        "document.write",
        "importScripts",
        "XMLHttpRequest",
        "fetch(",
    ):
        assert forbidden not in script
    assert "url(" not in style
    assert "@import" not in style
