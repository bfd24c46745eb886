# SPDX-License-Identifier: Apache-2.0
"""Waiting for a target that was sent away: what is done to one that stays away, and when somebody wants an end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.config.inventory import Target, load_inventory
from harness.config.kernels import BUILT_IN_BOOT, BUILT_IN_KERNEL, PLAIN_BOOT
from harness.errors import Unreachable
from harness.target import booting
from harness.target.booting import Booter, Wanted
from harness.target.proof import BootFailed, NotBack

#: What a machine says of itself; what it boots by itself is known.
STATE = {"ours": None, "default": {"release": "6.1"}, "boot_id": "old", "tools": {"reboot": "/sbin/reboot"}}


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """What a machine boots that stays away: as long as it is here it boots it again."""
    folder = tmp_path / "srv"
    folder.mkdir()
    (folder / "kernel").write_text("panics")
    return folder


def booter(
    folder: Path, lab: str, monkeypatch: pytest.MonkeyPatch, stopped: bool = False
) -> tuple[Booter, list[tuple[str, dict[str, Any]]]]:
    """Of a target that comes back once ``kernel`` is gone from the folder."""
    (folder.parent / "lab.yaml").write_text(lab)
    target: Target = load_inventory(folder.parent / "lab.yaml").targets["nuc"]

    def open_transport(*_: object) -> Any:
        if (folder / "kernel").exists():
            raise Unreachable("connection refused")
        return SimpleNamespace()

    monkeypatch.setattr(booting, "open_transport", open_transport)
    monkeypatch.setattr(booting, "_boot_id", lambda _: "new")
    events: list[tuple[str, dict[str, Any]]] = []
    made = Booter(target, lambda kind, **fields: events.append((kind, fields)), lambda _: stopped)
    made.boot_id, made.patience_s = "old", 0.01
    return made, events


@pytest.mark.parametrize("power", ["", ', power: {cycle: ["true"]}'])
def test_what_is_served_to_a_machine_that_stays_away_is_taken_away_first(
    power: str, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = f'targets: {{nuc: {{address: n, boot: {{netboot: "{served}"}}{power}}}}}'
    made, events = booter(served, lab, monkeypatch)
    cycled: list[bool] = []
    monkeypatch.setattr(booting.power, "cycle", lambda _: cycled.append((served / "kernel").exists()))
    made.await_back()
    assert cycled == ([False] if power else [])
    assert [kind for kind, _ in events] == (["power-cycled"] if power else [])
    done = "its power was switched" if power else "what it was to boot was taken away"
    assert str(made.hung).endswith(f"; {done}, and it is back")


def test_a_command_of_the_sites_own_is_told_of_the_default_before(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = f"targets: {{nuc: {{address: n, boot: {{command: [rm, '{served}/kernel']}}}}}}"
    made, _ = booter(served, lab, monkeypatch)
    made.await_back()
    assert made.hung is not None


def test_one_that_nothing_can_be_done_for_stays_away(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = booter(served, "targets: {nuc: {address: n, boot: kexec}}", monkeypatch)
    with pytest.raises(NotBack, match=r"did not come back within 0 s \(connection refused\)$"):
        made.await_back()


def test_why_it_stayed_away_is_not_hidden_by_a_power_switch_that_fails(
    served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = 'targets: {nuc: {address: n, boot: kexec, power: {cycle: ["false"]}}}'
    made, events = booter(served, lab, monkeypatch)
    with pytest.raises(NotBack, match=r"^did not come back within .*; power: cycle: false ended with status 1"):
        made.await_back()
    assert events == []


def test_who_is_asked_to_stop_touches_no_power(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = 'targets: {nuc: {address: n, boot: kexec, power: {cycle: ["true"]}}}'
    made, events = booter(served, lab, monkeypatch, stopped=True)
    with pytest.raises(NotBack, match="asked to stop"):
        made.await_back()
    assert events == []


class Hands:
    """Of a machine with the kernel 6.18 beside its own."""

    contact = SimpleNamespace(arch="x86_64")

    def __init__(self) -> None:
        self.asked: list[tuple[str, float | None]] = []

    def look(self, _reads: object, _release: object, keep_s: float | None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.asked.append(("look", keep_s))
        return {**STATE, "default": {"release": "6.1", "cmdline": "ro"}}, {"release": "6.18", "image": "/boot/i"}

    def steps(self, _steps: object, keep_s: float | None) -> None:
        self.asked.append(("steps", keep_s))

    def leave(self, _argv: object) -> None:
        self.asked.append(("leave", None))


@pytest.fixture
def wanted(served: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Booter, Booter, Wanted]:
    lab = 'targets: {nuc: {address: n, boot: {command: ["true"]}}}\nkernels: {next: {installed: 6.18}}'
    made, _ = booter(served, lab, monkeypatch)
    asked, _ = booter(served, lab, monkeypatch, stopped=True)
    kernel = load_inventory(served.parent / "lab.yaml").kernels["next"]
    return made, asked, Wanted(kernel, PLAIN_BOOT, BUILT_IN_BOOT)


def test_nothing_is_armed_any_more_for_who_wants_an_end(wanted: tuple[Booter, Booter, Wanted]) -> None:
    _, asked, what = wanted
    hands: Any = Hands()
    with pytest.raises(BootFailed, match="asked to stop before it was booted"):
        asked.order(what, hands)
    assert not asked.left
    assert hands.asked == [("look", None)]


def test_the_lease_is_renewed_right_before_it_leaves(wanted: tuple[Booter, Booter, Wanted]) -> None:
    made, _, what = wanted
    made.keep_s = 120.0
    hands: Any = Hands()
    made.order(what, hands)
    assert hands.asked == [("look", None), ("steps", 120.0), ("leave", None)]
    assert made.left
    home: Any = Hands()
    made.order(Wanted(BUILT_IN_KERNEL, PLAIN_BOOT, BUILT_IN_BOOT), home)
    assert home.asked == [("look", 120.0), ("leave", None)]
