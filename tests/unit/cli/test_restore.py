# SPDX-License-Identifier: Apache-2.0
"""``restore`` and boots: nothing is taken from under the hands of who has the target leased."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli import restore
from harness.cli.render import restored
from harness.config.inventory import load_inventory
from harness.errors import Busy


class Target:
    """An invented one that is booted from a folder here, in which a killed command left something."""

    def __init__(self, folder: Path, leased: bool) -> None:
        self.served = folder / "srv"
        self.served.mkdir()
        (self.served / "kernel").write_text("x")
        (folder / "lab.yaml").write_text(f'targets: {{nuc: {{address: n, boot: {{netboot: "{self.served}"}}}}}}')
        self.target = load_inventory(folder / "lab.yaml").targets["nuc"]
        self.asked: list[object] = []
        client = SimpleNamespace(
            acquire=self._busy if leased else lambda *_: 7,
            release=lambda token, _: self.asked.append(("release", token)),
        )
        self.session: Any = SimpleNamespace(
            client=client, welcome={"state_dir": "/s"}, hands=SimpleNamespace(under=self._under)
        )

    def _busy(self, *_: object) -> int:
        raise Busy("in use by A")

    def _under(self, token: int, state: str) -> object:
        self.asked.append(("under", token, state))
        remove = lambda: self.asked.append("remove") or [{"kind": "build"}]  # noqa: E731
        return SimpleNamespace(state=lambda: {"ours": None}, remove=remove)


def test_what_was_armed_is_told_in_words_of_its_own() -> None:
    entry = {"name": "kernels", "kind": "armed", "path": "/boot/grub/grubenv", "ok": True}
    assert restored(entry) == "/boot/grub/grubenv: not booted next any more"
    assert restored({**entry, "kind": "file", "path": "/boot/i"}) == "/boot/i: removed"
    assert restored({**entry, "ok": False, "reason": "no"}) == "/boot/grub/grubenv: NOT put back: no"


def test_what_a_boot_left_is_removed_under_a_lease(tmp_path: Path) -> None:
    found = Target(tmp_path, leased=False)
    assert restore._boots(found.session, found.target, kernels=True) == [{"kind": "build"}]
    assert found.asked == [("under", 7, "/s"), "remove", ("release", 7)]
    assert list(found.served.iterdir()) == []


@pytest.mark.parametrize("kernels", [False, True])
def test_who_is_booting_keeps_what_it_boots(kernels: bool, tmp_path: Path) -> None:
    found = Target(tmp_path, leased=True)
    if kernels:
        with pytest.raises(Busy):
            restore._boots(found.session, found.target, kernels=True)
    else:
        assert restore._boots(found.session, found.target, kernels=False) == []
    assert found.asked == []
    assert (found.served / "kernel").exists()
