# SPDX-License-Identifier: Apache-2.0
"""KVM only where a guest really boots with it, tried once a boot of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import BuildError, InfrastructureFault
from harness.lab.accelerate import decide
from harness.toolchain import native_arch


class Trial:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.count = 0

    def __call__(self) -> bool:
        self.count += 1
        if self.error is not None:
            raise self.error
        return True


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.touch()
    return path


def test_a_guest_that_boots_decides_for_kvm_and_is_tried_once(tmp_path: Path, device: Path) -> None:
    trial = Trial()
    assert [decide(native_arch(), tmp_path, device, trial) for _ in range(3)] == ["kvm"] * 3
    assert trial.count == 1


def test_a_guest_that_does_not_boot_is_emulated_though_the_device_is_there(tmp_path: Path, device: Path) -> None:
    trial = Trial(InfrastructureFault("it hangs"))
    assert [decide(native_arch(), tmp_path, device, trial) for _ in range(3)] == ["tcg"] * 3
    assert trial.count == 1


def test_another_boot_of_this_machine_is_another_trial(tmp_path: Path, device: Path) -> None:
    (tmp_path / "kvm-00000000-0000-0000-0000-000000000000").write_text("tcg")
    trial = Trial()
    assert decide(native_arch(), tmp_path, device, trial) == "kvm"
    assert len(list(tmp_path.glob("kvm-*"))) == 1


@pytest.mark.parametrize(
    "spoil",
    [lambda device: device.unlink(), lambda device: device.chmod(0)],
    ids=["there is none", "it may not be opened"],
)
def test_without_the_device_nothing_is_tried(tmp_path: Path, device: Path, spoil: Callable[[Path], None]) -> None:
    spoil(device)
    if os.access(device, os.R_OK):
        pytest.skip("root may open whatever there is")
    trial = Trial()
    assert decide(native_arch(), tmp_path, device, trial) == "tcg"
    assert trial.count == 0


def test_another_architecture_is_always_emulated(tmp_path: Path, device: Path) -> None:
    trial = Trial()
    assert decide("aarch64" if native_arch() == "x86_64" else "x86_64", tmp_path, device, trial) == "tcg"
    assert trial.count == 0


def test_without_a_compiler_it_is_emulated_until_there_is_one(tmp_path: Path, device: Path) -> None:
    assert decide(native_arch(), tmp_path, device, Trial(BuildError("no compiler"))) == "tcg"
    assert decide(native_arch(), tmp_path, device, Trial()) == "kvm"
