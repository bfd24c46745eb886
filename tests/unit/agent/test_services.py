# SPDX-License-Identifier: Apache-2.0
"""Services that meddle: seen by their processes, stopped by systemd, started again by the undo."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.agent import services
from harness.agent.knobs.services import Services
from harness.agent.services import DAEMONS, TIMERS, Systemd, SystemdError, Unit
from harness.agent.system import Tree
from harness.agent.undo import Undo

from .invented import Invented


def test_all_that_are_active_are_stopped_and_started_again(tmp_path: Path) -> None:
    tree = Invented(str(tmp_path))
    undo = Undo(str(tmp_path), tree)
    knob = Services(tree)
    assert knob.show()["value"] == ["fstrim.timer", "irqbalance.service", "man-db.timer", "tuned.service"]
    outcome = knob.set([1], [0], undo)
    assert outcome.ok
    assert outcome.before == ["fstrim.timer", "irqbalance.service", "man-db.timer", "tuned.service"]
    assert tree.active == set()
    assert tree.commands == ["stop fstrim.timer irqbalance.service man-db.timer tuned.service"]  # and no other
    assert knob.verify(outcome) is None
    report = undo.play()
    told = {each["path"]: (each["found"], each["before"], each["ok"]) for each in report}
    assert told == dict.fromkeys(outcome.before, ("inactive", "active", True))
    assert tree.active == set(outcome.before)
    assert "active again: fstrim.timer" in str(knob.verify(outcome))


def test_where_none_is_active_nothing_is_done(tmp_path: Path) -> None:
    tree = Invented(str(tmp_path), units=())
    assert Services(tree).set([1], [0], Undo(str(tmp_path), tree)).ok
    assert tree.commands == []


def test_they_are_written_down_before_they_are_stopped(tmp_path: Path) -> None:
    tree = Invented(str(tmp_path))
    undo = Undo(str(tmp_path), tree)
    noted: list[bool] = []
    tree.before_change = lambda unit: noted.append(unit in {entry["unit"] for entry in undo.entries()})
    Services(tree).set([1], [0], undo)
    assert noted == [True] * 4
    outcome = Services(Invented(str(tmp_path))).set([1], [0], Undo(str(tmp_path / "absent"), tree))
    assert (outcome.ok, outcome.reason) == (False, "undo cannot be written")


def test_a_timers_service_at_work_is_not_interrupted(tmp_path: Path) -> None:
    tree = Invented(str(tmp_path), units=["apt-daily-upgrade.timer"])
    tree.working = {"apt-daily-upgrade.service"}
    knob = Services(tree)
    outcome = knob.set([1], [0], Undo(str(tmp_path), tree))
    assert tree.commands == ["stop apt-daily-upgrade.timer"]
    assert (outcome.ok, outcome.effective) == (False, ["apt-daily-upgrade.service"])
    assert outcome.reason == "still active: apt-daily-upgrade.service"
    assert "finish" in str(knob.advise(outcome))


def test_what_systemd_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    class Refusing(Invented):
        def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
            if argv[3] in ("stop", "start"):
                return 4, "", "Interactive authentication\nrequired.\n"
            return super().run(argv, timeout_s)

    tree = Refusing(str(tmp_path))
    undo = Undo(str(tmp_path), tree)
    knob = Services(tree)
    outcome = knob.set([1], [0], undo)
    assert (outcome.ok, outcome.effective) == (False, outcome.before)
    assert outcome.reason == "systemctl stop: Interactive authentication required."
    assert "root" in str(knob.advise(outcome))
    assert all(each["ok"] for each in undo.play())  # they are still active: as they were found
    undo.record([services.unit_entry("services", Unit("thermald.service", "loaded", "active"))])
    [report] = undo.play()
    assert (report["ok"], report["reason"]) == (False, "systemctl start: Interactive authentication required.")
    assert not undo.empty


def test_a_systemd_that_does_not_answer_raises_nothing(tmp_path: Path) -> None:
    class Hanging(Invented):
        def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
            raise OSError(110, f"not done after {timeout_s:g} s")

    tree = Hanging(str(tmp_path))
    knob = Services(tree)
    assert knob.show()["reason"] == "systemctl show: not done after 15 s"
    outcome = knob.set([1], [0], Undo(str(tmp_path), tree))
    assert not outcome.ok
    assert knob.verify(outcome) == "systemctl show: not done after 15 s"


class Failing(Invented):
    """A daemon whose start fails, and which systemd starts again and again."""

    mended = False

    def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
        if argv[3] == "stop":
            self.working.clear()
        elif argv[3] == "start" and argv[-1] == "tuned.service" and not self.mended:
            self.working.add("tuned.service")
            return 1, "", "Job for tuned.service failed because the control process exited with error code."
        return super().run(argv, timeout_s)


def test_one_that_was_found_failing_may_fail_again(tmp_path: Path) -> None:
    tree = Failing(str(tmp_path), units=())
    tree.working = {"tuned.service"}
    undo = Undo(str(tmp_path), tree)
    assert Services(tree).set([1], [0], undo).ok
    assert [(entry["unit"], entry["before"]) for entry in undo.entries()] == [("tuned.service", "activating")]
    [report] = undo.play()
    assert (report["before"], report["found"], report["ok"]) == ("activating", "inactive", True)
    assert tree.working == {"tuned.service"}
    assert undo.empty


def test_one_that_was_starting_and_is_active_now_is_back(tmp_path: Path) -> None:
    tree = Failing(str(tmp_path), units=())
    tree.working = {"tuned.service"}
    tree.mended = True
    undo = Undo(str(tmp_path), tree)
    assert Services(tree).set([1], [0], undo).ok
    assert [report["ok"] for report in undo.play()] == [True]
    assert tree.active == {"tuned.service"}


def test_one_that_was_active_has_to_be_active_again(tmp_path: Path) -> None:
    tree = Failing(str(tmp_path), units=("tuned.service",))
    undo = Undo(str(tmp_path), tree)
    assert Services(tree).set([1], [0], undo).ok
    [report] = undo.play()
    assert (report["ok"], "control process exited" in report["reason"]) == (False, True)
    assert not undo.empty


def test_a_service_that_was_started_too_often_is_started_all_the_same(tmp_path: Path) -> None:
    tree = Invented(str(tmp_path), units=["tuned.service"])
    tree.starts["tuned.service"] = 5
    undo = Undo(str(tmp_path), tree)
    Services(tree).set([1], [0], undo)
    assert [each["ok"] for each in undo.play()] == [True]
    assert tree.active == {"tuned.service"}


def test_a_service_that_was_removed_meanwhile_is_not_waited_for(tmp_path: Path) -> None:
    tree = Invented(str(tmp_path))
    undo = Undo(str(tmp_path), tree)
    undo.record([services.unit_entry("services", Unit("gone.service", "loaded", "active"))])
    [report] = undo.play()
    assert (report["ok"], report["reason"]) == (True, "gone")


def test_one_that_dies_again_is_no_success(tmp_path: Path) -> None:
    class Dying(Invented):
        def run(self, argv: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
            return (0, "", "") if argv[3] == "start" else super().run(argv, timeout_s)

    tree = Dying(str(tmp_path), units=())
    undo = Undo(str(tmp_path), tree)
    undo.record([services.unit_entry("services", Unit("tuned.service", "loaded", "active"))])
    [report] = undo.play()
    assert (report["ok"], report["reason"]) == (False, "inactive after it was started")


@pytest.mark.parametrize("name", ["-H=host.service", "a b.service", "a.socket", "../x.service", "$(id).service", ""])
def test_only_names_of_units_go_to_systemctl(tmp_path: Path, name: str) -> None:
    """Also what comes out of a journal that somebody damaged."""
    tree = Invented(str(tmp_path))
    with pytest.raises(SystemdError, match="not the name of"):
        Systemd(tree).start(name)
    undo = Undo(str(tmp_path), tree)
    undo.record([{"kind": "unit", "name": "services", "unit": name, "before": "active"}])
    [report] = undo.play()
    assert not report["ok"]
    assert tree.commands == []


def systemctl(root: Path, script: str) -> Tree:
    """A machine whose systemctl is a real program."""
    (root / "usr/bin").mkdir(parents=True)
    (root / "run/systemd/system").mkdir(parents=True)
    path = root / "usr/bin/systemctl"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Tree(str(root))


def test_the_command_is_run_by_its_path_without_a_shell(tmp_path: Path) -> None:
    tree = systemctl(
        tmp_path,
        'printf "%s\\n" "$@" "$LC_ALL" > "$0.args"; printf "LoadState=loaded\\nActiveState=active\\n\\n"; '
        'printf "LoadState=not-found\\nActiveState=inactive\\n"',
    )
    found = Systemd(tree).units(["tuned.service", "x@y.timer"])
    assert found == [Unit("tuned.service", "loaded", "active"), Unit("x@y.timer", "not-found", "inactive")]
    assert (tmp_path / "usr/bin/systemctl.args").read_text().split() == [
        *("--no-ask-password", "--no-pager", "show", "--property=LoadState,ActiveState", "--"),
        *("tuned.service", "x@y.timer", "C"),  # what it says is read: in no other language
    ]


def test_a_command_that_fails_hangs_or_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(SystemdError, match="systemctl stop: exit status 3"):
        Systemd(systemctl(tmp_path / "fails", "exit 3")).stop(["tuned.service"])
    with pytest.raises(SystemdError, match="1 answers for 2 units"):
        Systemd(systemctl(tmp_path / "odd", "echo ActiveState=active")).units(["tuned.service", "thermald.service"])
    with pytest.raises(OSError, match=r"not done after 0\.05 s"):
        systemctl(tmp_path / "hangs", "exec sleep 60").run(["/usr/bin/systemctl"], 0.05)
    broken = systemctl(tmp_path / "broken", "")
    (tmp_path / "broken/usr/bin/systemctl").write_text("#!/no/such/interpreter")
    with pytest.raises(SystemdError, match="No such file"):
        Systemd(broken).stop(["tuned.service"])
    assert not Systemd(Tree(str(tmp_path / "none"))).here


def test_meddlers_are_seen_by_their_processes(tmp_path: Path) -> None:
    tree = Invented(
        str(tmp_path),
        files={
            "/proc/10/comm": "irqbalance",
            "/proc/11/comm": "power-profiles-",
            "/proc/12/comm": "unattended-upgr",
            "/proc/12/cmdline": "/usr/bin/python3\0/usr/share/unattended-upgrades/unattended-upgrade-shutdown\0",
            "/proc/13/comm": "bash",
        },
    )
    assert services.running(tree) == ["irqbalance", "power-profiles-"]  # the third waits for a shutdown
    tree.files["/proc/12/cmdline"] = "/usr/bin/python3\0/usr/bin/unattended-upgrade\0"
    assert services.running(tree) == ["irqbalance", "power-profiles-", "unattended-upgr"]


def test_each_meddler_has_a_remedy() -> None:
    for name in [*DAEMONS.values(), "powertop", "unattended-upgr"]:
        assert services.remedy([name])
    assert services.remedy(["tuned", "powertop"]) == "tune: [services], or systemctl stop tuned.service; end powertop"


def test_the_list_is_sound() -> None:
    assert all(len(name) <= 15 for name in DAEMONS.values())  # a process's name is cut there
    assert all(services._UNIT.fullmatch(unit) for unit in [*DAEMONS, *TIMERS])
    assert all(unit.endswith(".timer") for unit in TIMERS)
    assert len(set(TIMERS)) == len(TIMERS)
