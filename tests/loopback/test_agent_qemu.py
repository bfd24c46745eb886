# SPDX-License-Identifier: Apache-2.0
"""The other architecture under qemu-user: an aarch64 agent carries out batches, and a campaign finds such a machine."""

from __future__ import annotations

import json
import shlex
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.agent.spec import LoadSpec, ProbeSpec
from harness.build import probes
from harness.store.hdr import decode

from .agent_kit import (
    EXECUTION,
    MEASURED,
    agent_in,
    listen,
    probe_binary,
    run_spec,
    settings,
    soon,
    submit,
    without_measured,
)
from .campaign_kit import Lab, complete, needs_root
from .conftest import Server
from .foreign import foreign

__all__ = ["foreign"]  # a fixture

pytestmark = pytest.mark.skipif(without_measured() is not None, reason=str(without_measured()))


@pytest.fixture(scope="session")
def binaries() -> dict[str, bytes]:
    return {name: probe_binary(name, "aarch64") for name in probes()}


def test_an_aarch64_agent_carries_out_a_batch(foreign: list[str], binaries: dict[str, bytes], tmp_path: Path) -> None:
    for binary in binaries.values():
        (machine,) = struct.unpack_from("<H", binary, 18)
        assert machine == 183
    with agent_in(tmp_path, prefix=[*foreign, str(tmp_path)], python="/usr/bin/python3", folders="/mnt") as agent:
        before = settings()
        client = agent.attach()
        assert client.welcome["facts"]["arch"] == "aarch64"
        sha256 = {name: client.put(name, binary, soon()) for name, binary in binaries.items()}
        spin = LoadSpec("spin", "spin")
        first = run_spec(1, sha256["gap"], mode="shared", load=spin)
        runs = [first]
        for number, name in enumerate(binaries, 2):
            runs.append(replace(run_spec(number, sha256[name]), bench=name, probe=ProbeSpec(name, sha256[name], {})))
        submit(client, runs)
        heard = listen(client)
        done = (heard.last["done"], heard.last["failed"])
        assert done == (len(runs), 0), [event.get("reason") for event in heard.events]
        for run in runs:
            files = heard.runs[run.run]
            record = json.loads(files["record.json"])
            assert record["status"] == "ok"
            (result,) = record["results"]
            assert (result["arch"], result["clock"]["source"]) == ("aarch64", "cntvct")
            [(metric, told)] = result["histograms"].items()
            tag = "any" if run is first else f"cpu{MEASURED}"
            assert decode(files[f"{metric}.{tag}.hdr"]).total == told["recorded"] > 0
        assert client.list_runs(EXECUTION, soon())["runs"] == []
        assert settings() == before


@needs_root
def test_a_campaign_finds_an_aarch64_machine_and_brings_it_its_probes(
    foreign: list[str], binaries: dict[str, bytes], lab: Lab, start_sshd: Callable[..., Server], open_folder: Path
) -> None:
    """All of it over SSH: what the machine is, the agent, the build for it, runs and their files."""
    command = [*foreign, str(open_folder), "/usr/bin/env", "HOME=/mnt", "/bin/sh", "-c"]
    script = open_folder / "login"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$SSH_ORIGINAL_COMMAND"\n')
    script.chmod(0o755)
    lab.add(start_sshd(f"ForceCommand {script}"), "board")
    said = lab.cli("run", str(lab.campaign(benches=["gap", "wake"], axes={"mode": ["pinned"]}, repeat=1)))
    assert said.code in (0, 4), said.err  # 4: measured, and under emulation not one run was good enough
    execution = lab.newest()
    complete(execution)
    lane = json.loads((execution.path / "lanes" / "board.json").read_text())
    assert lane["facts"]["arch"] == "aarch64"
    for folder in (execution.path / "runs" / "board").iterdir():
        document = json.loads((folder / "run.json").read_text())
        assert [result["arch"] for result in document["results"]] == ["aarch64"]
        assert document["identity"]["arch"] == "aarch64"
