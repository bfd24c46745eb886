# SPDX-License-Identifier: Apache-2.0
"""`pip install .`, then use from an empty folder: the wheel carries benches, campaigns and the probes' sources."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package alone, installed by pip; its dependencies are this environment's."""
    there = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-deps",
            "--target",
            str(there),
            ".",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return there


def run(installed: Path, cwd: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed), "XDG_CACHE_HOME": str(cwd / "cache")}
    return subprocess.run([sys.executable, *argv], cwd=cwd, env=env, capture_output=True, text=True, timeout=280)


def test_it_is_the_installed_one_and_finds_its_data(installed: Path, tmp_path: Path) -> None:
    code = (
        "import harness; from harness.build import csrc_dir; from harness.config.data import data_dir;"
        "print(harness.__file__); print(csrc_dir()); print(data_dir('benches'))"
    )
    done = run(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(str(installed)) for line in done.stdout.splitlines())


def test_the_report_finds_its_templates_and_its_plotting_library(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    code = (
        "from pathlib import Path; from harness.report.html import write_report; write_report(Path(), Path('r.html'))"
    )
    done = run(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "var uPlot=" in (tmp_path / "r.html").read_text()
    (licence,) = installed.glob("isolbench-*.dist-info/licenses/harness/report/vendor/uPlot.LICENSE")
    assert "MIT License" in licence.read_text()


def test_probes_compile_on_first_use_and_a_shipped_campaign_plans(installed: Path, tmp_path: Path) -> None:
    code = "from harness.build import build_probe, native_arch; print(build_probe('gap', native_arch()).path)"
    done = run(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "cache"))
    plan = run(installed, tmp_path, "-m", "harness", "plan", "quick", "--json")
    assert plan.returncode == 0, plan.stderr
    assert json.loads(plan.stdout)["runs"] == 18
    schema = run(installed, tmp_path, "-m", "harness", "schema", "campaign")
    assert json.loads(schema.stdout)["properties"]["settle"]["description"]  # of the page that came along
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_the_agent_travels_from_the_installed_package(installed: Path, tmp_path: Path) -> None:
    code = "from harness.target.deploy import agent_zip; print(agent_zip()[1])"
    here = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run(installed, tmp_path, "-c", code).stdout == here.stdout
