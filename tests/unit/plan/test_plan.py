# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.config.campaign import Campaign, load_campaign
from harness.config.inventory import Inventory, read_inventory
from harness.config.yaml import parse
from harness.errors import ConfigError, PlanError
from harness.plan import UNKNOWN, Plan, admit, build_plan, place, seats_of

BENCH = "probe: p\nparams: {threshold: {type: duration, default: 1us}}\nmetrics: {gap_ns: {better: lower, gate: p99}}\n"
INVENTORY = """
targets:
  nuc: {address: nuc, tags: [x86]}
  box: {address: box, tags: [x86, big]}
  "pi-[1-3]": {address: "{name}", tags: [arm]}
  pi-2: {disabled: "PSU dead"}
"""


@pytest.fixture
def inventory() -> Inventory:
    return read_inventory(parse(INVENTORY, "f"), Path("/lab/inv.yaml"))


class Lab:
    """Campaigns in a folder with the benches gap and wake."""

    def __init__(self, folder: Path, inventory: Inventory) -> None:
        self.folder = folder
        self.inventory = inventory
        for name in ("gap", "wake"):
            (folder / f"{name}.yaml").write_text(BENCH)

    def campaign(self, text: str) -> Campaign:
        path = self.folder / "c.yaml"
        head = {"campaign": "c", "targets": "[nuc]", "benches": "[gap]", "duration": "1s"}
        given = {line.partition(":")[0] for line in text.splitlines()}
        path.write_text(text + "".join(f"\n{key}: {value}" for key, value in head.items() if key not in given))
        return load_campaign(path)

    def plan(self, text: str, **more: Any) -> Plan:
        return build_plan(self.campaign(text), self.inventory, **more)

    def refused(self, text: str, **more: Any) -> list[str]:
        with pytest.raises(PlanError) as caught:
            self.plan(text, **more)
        return [line.removeprefix(f"{self.folder}/") for line in str(caught.value).splitlines()]


@pytest.fixture
def lab(tmp_path: Path, inventory: Inventory) -> Lab:
    return Lab(tmp_path, inventory)


def shown(plan: Plan) -> list[str]:
    return [f"{cell.target}:{cell.bench}.{cell.mode.name}.{cell.load.name}" for cell in plan.cells]


def test_the_product_in_order(lab: Lab) -> None:
    plan = lab.plan(
        "targets: [box, nuc]\nbenches: [gap, wake]\naxes: {mode: [shared, pinned], load: [idle, spin]}\nrepeat: 3"
    )
    assert len(plan.cells) == 16
    assert shown(plan)[:5] == [
        "box:gap.shared.idle",
        "box:gap.shared.spin",
        "box:gap.pinned.idle",
        "box:gap.pinned.spin",
        "box:wake.shared.idle",
    ]
    assert plan.targets == ("box", "nuc")
    assert plan.cells_of("nuc") == plan.cells[8:]
    assert (plan.runs, plan.repeat, plan.sessions) == (48, 3, 1)
    assert plan.estimate.seconds == pytest.approx(3 + 24 * 2.1)
    assert plan.cells[0].params == {"threshold": "1000ns"}
    assert plan.inventory["box"]["address"] == "box"


@pytest.mark.parametrize(
    ("patterns", "targets"),
    [
        ("[nuc]", ["nuc"]),
        ("[tag:x86]", ["nuc", "box"]),
        ("['*']", ["nuc", "box", "pi-1", "pi-3"]),
        ("['pi-*', nuc, nuc]", ["pi-1", "pi-3", "nuc"]),
        ("['pi-[12]']", ["pi-1"]),
        ("[local, 'l*x', tag:big]", None),
        ("[local]", ["local"]),
    ],
)
def test_targets(lab: Lab, patterns: str, targets: list[str] | None) -> None:
    if targets is None:
        assert lab.refused(f"targets: {patterns}") == ["c.yaml:1:18: targets[1]: no target matches 'l*x'"]
    else:
        assert list(lab.plan(f"targets: {patterns}").targets) == targets


def test_targets_of_the_command_line_come_instead(lab: Lab) -> None:
    assert lab.plan("targets: [nuc]", targets=["tag:big", "pi-1"]).targets == ("box", "pi-1")


def test_disabled_targets_are_told(lab: Lab) -> None:
    assert lab.plan("targets: ['pi-*']").disabled == {"pi-2": "PSU dead"}
    assert lab.refused("targets: [pi-2]") == [
        "c.yaml:1:10: targets: every selected target is disabled: pi-2 (PSU dead)"
    ]


AXES = "axes: {mode: [shared, pinned, fifo], load: [idle, spin]}\n"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("exclude: [{mode: shared}]", ["pinned.idle", "pinned.spin", "fifo.idle", "fifo.spin"]),
        ("exclude: [{mode: shared, load: idle}]",
         ["shared.spin", "pinned.idle", "pinned.spin", "fifo.idle", "fifo.spin"]),
        ("exclude: [{mode: '*i*'}, {load: spin}]", ["shared.idle"]),
        ("exclude: [{mode: [shared, fifo]}]", ["pinned.idle", "pinned.spin"]),
        ("exclude: [{target: box, mode: shared}]",
         ["shared.idle", "shared.spin", "pinned.idle", "pinned.spin", "fifo.idle", "fifo.spin"]),
        ("exclude: [{target: tag:x86, mode: [shared, pinned]}]", ["fifo.idle", "fifo.spin"]),
        ("include: [{mode: fifo}, {load: spin, mode: 'p*'}]", ["pinned.spin", "fifo.idle", "fifo.spin"]),
        ("include: [{mode: fifo}]\nexclude: [{load: idle}]", ["fifo.spin"]),
    ],
)  # fmt: skip
def test_filters(lab: Lab, text: str, left: list[str]) -> None:
    plan = lab.plan(AXES + text)
    assert shown(plan) == [f"nuc:gap.{name}" for name in left]
    assert plan.filtered == 6 - len(left)


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        ("targets: [nuk]", {}, ["c.yaml:1:11: targets[0]: unknown target 'nuk'; did you mean 'nuc'?"]),
        ("", {"targets": ["nuk"]}, ["--target nuk: unknown target 'nuk'; did you mean 'nuc'?"]),
        ("", {"targets": ["pi-2"]}, ["every selected target is disabled: pi-2 (PSU dead)"]),
        ("targets: [nuk, tag:x68, 'z*']", {}, [
            "c.yaml:1:11: targets[0]: unknown target 'nuk'; did you mean 'nuc'?",
            "c.yaml:1:16: targets[1]: no target has the tag 'x68'; did you mean 'x86'?",
            "c.yaml:1:25: targets[2]: no target matches 'z*'"]),
        ("exclude: [{target: boxx}]", {}, [
            "c.yaml:1:20: exclude[0].target: unknown target 'boxx'; did you mean 'box'?"]),
        ("include: [{target: [nuc, boxx]}]", {}, [
            "c.yaml:1:26: include[0].target[1]: unknown target 'boxx'; did you mean 'box'?"]),
        (AXES + "exclude: [{mode: '*'}]", {}, [
            "c.yaml:2:10: exclude: nothing is left of 6 cells: exclude[0] takes 6"]),
        (AXES + "include: [{mode: fifo, target: box}]", {}, [
            "c.yaml:2:10: include: nothing is left of 6 cells: include leaves out 6"]),
        (AXES + "include: [{mode: fifo}]\nexclude: [{load: idle}, {load: spin}]", {}, [
            ("c.yaml:3:10: exclude: nothing is left of 6 cells: include leaves out 4, exclude[0] takes 1, "
            "exclude[1] takes 1")]),
        ("axes: {mode: ['fifo:50', {where: pinned, sched: 'fifo:50'}]}", {}, [
            "c.yaml:1:26: axes.mode[1]: 'fifo50' and 'pinned-fifo50' are two names for one cell"]),
        ("axes: {load: [{a: [x, y]}, {b: [x, y]}]}", {}, [
            "c.yaml:1:28: axes.load[1]: 'a' and 'b' are two names for one cell"]),
        ("axes: {load: [{a: [x, y]}, {b: [x, y]}]}", {"sets": ["load=b,idle,a"]}, [
            "--set load: 'b' and 'a' are two names for one cell"]),
        ("benches: [gap, {bench: gap, params: {threshold: 1000ns}}]", {}, [
            "c.yaml:1:16: benches[1]: 'gap' and 'gap' are two names for one cell"]),
        ("benches: [{bench: gap, params: {threshold: 2us}}, {bench: gap, params: {threshold: 2000ns}}]", {}, [
            ("c.yaml:1:51: benches[1]: 'gap {threshold: 2000ns}' and 'gap {threshold: 2000ns}' are two names for one "
            "cell")]),
        ("", {"sets": ["mod=shared"]}, ["--set mod=shared: unknown axis 'mod'; did you mean 'mode'?"]),
        ("", {"sets": ["mode"]}, ["--set mode: expected axis=value[,value]"]),
        ("", {"sets": ["mode="]}, ["--set mode=: expected axis=value[,value]"]),
        ("", {"sets": ["mode=fifo,"]}, ["--set mode=fifo,: expected axis=value[,value]"]),
        ("", {"sets": ["mode=fifo", "mode=pinned"]}, ["--set mode=pinned: mode is set twice"]),
        ("", {"sets": ["mode=fifo,fifo"]}, ["--set mode=fifo,fifo: a value is given twice"]),
        ("", {"sets": ["mode=fivo", "load=spim"]}, [
            "--set mode=fivo: unknown mode 'fivo'; did you mean 'fifo'?",
            "--set load=spim: unknown load 'spim'; did you mean 'spin'?"]),
        ("", {"sets": ["bench=wake"]}, ["--set bench=wake: 'wake' is no bench of this campaign (known: gap)"]),
        ("", {"sets": ["duration=1,2"]}, ["--set duration=1,2: duration takes one value"]),
        ("", {"sets": ["duration=1"]}, [
            "--set duration=1: a duration needs a unit: 1s, 1ms … (one of ns, us, ms, s, min, h)"]),
        ("", {"sets": ["duration=1us"]}, ["--set duration=1us: expected 1ms to 168h, found 1us"]),
        ("", {"sets": ["tune=thp,ksn"]}, ["--set tune=thp,ksn: unknown knob 'ksn'; did you mean 'ksm'?"]),
        ("", {"sets": ["cpus=both", "control=yes"]}, [
            "--set cpus=both: unknown value 'both' (known: all, one)",
            "--set control=yes: expected true or false, found 'yes'"]),
        ("", {"sets": ["repeat=0"]}, ["--set repeat=0: expected 1 to 99999, found 0"]),
        ("", {"sets": ["gap.treshold=5us", "wake.slack=1ns"]}, [
            "--set gap.treshold=5us: bench 'gap' has no parameter 'treshold'; did you mean 'threshold'?",
            "--set wake.slack=1ns: 'wake' is no bench of this campaign (known: gap)"]),
        ("", {"sets": ["gap.threshold=5"]}, [
            "--set gap.threshold=5: a duration needs a unit: 5s, 5ms … (one of ns, us, ms, s, min, h)"]),
        ("repeat: 1000", {"sets": ["sessions=100"]}, ["--set: repeat × sessions is more than 99999"]),
    ],
)  # fmt: skip
def test_refusals(lab: Lab, text: str, more: dict[str, Any], expected: list[str]) -> None:
    assert lab.refused(text, **more) == expected


def test_set_of_parameters_and_of_no_knob(lab: Lab) -> None:
    plan = lab.plan("tune: [thp]\nbenches: [gap, wake]", sets=["gap.threshold=5us", "tune="])
    assert {cell.bench: cell.params["threshold"] for cell in plan.cells} == {"gap": "5000ns", "wake": "1000ns"}
    assert {cell.tune for cell in plan.cells} == {()}
    [cell] = lab.plan("benches: [{bench: gap, params: {threshold: 5us}}]", sets=["gap.threshold=1us"]).cells
    assert cell.id == lab.plan("benches: [gap]").cells[0].id  # the default is the default, whoever says it


def test_set(lab: Lab) -> None:
    text = AXES.replace("idle", "idle, {disk: [dd, x]}") + "benches: [gap, wake]"
    sets = ["mode=fifo:9", "load=disk", "bench=wake", "duration=2s", "settle=0s", "repeat=2", "sessions=3"]
    sets += ["cpus=all", "control=true", "attribution=perf", "tune=thp,ksm"]
    plan = lab.plan(text, sets=sets)
    [cell] = plan.cells
    assert (cell.bench, cell.mode.sched, cell.load.argv) == ("wake", "fifo:9", ["dd", "x"])
    assert (cell.duration_ns, cell.settle_ns, plan.repeat, plan.sessions) == (2 * 10**9, 0, 2, 3)
    assert (cell.cpus, cell.control, plan.campaign.cpus) == ("all", True, "all")
    assert (cell.attribution, plan.campaign.attribution) == ("perf", "perf")
    assert (cell.tune, plan.campaign.tune) == (("ksm", "thp"), ("thp", "ksm"))


def test_ids_do_not_depend_on_what_else_is_asked(lab: Lab) -> None:
    few = {cell.id for cell in lab.plan("axes: {mode: [pinned]}").cells}
    many = {cell.id for cell in lab.plan(AXES + "targets: ['*']\nbenches: [wake, gap]\nrepeat: 9\nquorum: 9%").cells}
    assert few <= many
    assert len(many) == 4 * 2 * 6


def test_a_plan_comes_back_from_json(lab: Lab) -> None:
    text = "targets: [nuc, pi-2]\n" + AXES.replace("idle", "idle, {disk: [dd, x]}").replace("fifo", "'fifo:3'") + "\n"
    text += "cpus: all\ncontrol: true\ntune: [thp, ksm]\n"
    plan = lab.plan(text + "budgets: [{bench: gap, metric: gap_ns, quantile: p99, at_most: 1us}]\nuntil: 06:30")
    data = json.loads(json.dumps({**plan.to_json(), "execution": "20261120T010000Z", "version": "0.1.0"}))
    assert Plan.from_json(data) == plan
    assert Plan.from_json(data).to_json() == plan.to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "p: schema 2: written by a newer isolbench? This one reads 1"),
        ({"cells": [{"cell": "../../etc"}]}, "p: not a plan: cell: not a safe name: '../../etc'"),
        ({"cells": [{}]}, "p: not a plan: no 'cell'"),
        ({"cells": None}, "p: not a plan: 'NoneType' object is not iterable"),
        ({"config": {"campaign": "c"}}, "p: not a plan: targets: Field required"),
    ],
)
def test_a_broken_plan(lab: Lab, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Plan.from_json({**lab.plan("").to_json(), **change}, "p")
    assert caught.value.problems == [message]


@pytest.mark.parametrize("data", [None, [], {}, "x", 1])
def test_what_is_no_plan_at_all(data: Any) -> None:
    with pytest.raises(ConfigError, match="p: not a plan"):
        Plan.from_json(data, "p")


def facts(count: int, **privileges: Any) -> dict[str, Any]:
    cpus = list(range(count))
    topology = {str(cpu): {"core": cpu, "package": 0, "node": 0, "siblings": [cpu], "capacity": None} for cpu in cpus}
    return {
        "arch": "x86_64",
        "cpus": {"online": cpus, "allowed": cpus, "isolated": [], "topology": topology},
        "privileges": {"sys_nice": True, "rtprio_limit": 0, **privileges},
    }


FOUR = facts(4)
FOUR["cpus"]["isolated"] = [2, 3]


def test_admission(lab: Lab) -> None:
    plan = lab.plan("axes: {mode: [shared, pinned, fifo], load: [idle, spin]}")
    by_name = {f"{cell.mode.name}.{cell.load.name}": cell for cell in plan.cells}
    assert {admit(cell, None) for cell in plan.cells} == {UNKNOWN}
    assert {admit(cell, facts(2)) for cell in plan.cells} == {None}
    assert {admit(cell, facts(2), place(facts(2))) for cell in plan.cells} == {None}
    unprivileged = {name: admit(cell, facts(2, sys_nice=False)) for name, cell in by_name.items()}
    assert unprivileged["pinned.spin"] is None
    assert unprivileged["fifo.idle"] is not None
    assert unprivileged["fifo.idle"].startswith("fifo:1 needs CAP_SYS_NICE or an rtprio limit of 1 (it is 0)")
    single = {name: admit(cell, facts(1)) for name, cell in by_name.items()}
    assert single["pinned.idle"] is None
    assert single["pinned.spin"] == "load spin has no CPU to run on but the measured one: use idle, or add a CPU"
    assert "would starve it" in (single["fifo.idle"] or "")
    assert admit(by_name["pinned.idle"], {"cpus": {}}) == "no CPU to measure on: online none, allowed none"


def test_admission_of_all(lab: Lab) -> None:
    shared, pinned = lab.plan("axes: {mode: [shared, pinned]}\ncpus: all").cells
    why = "cpus: all measures each CPU by a task of its own, and mode shared is not pinned: "
    assert (admit(shared, None) or "").startswith(why)  # whatever the machine is
    assert (admit(shared, FOUR) or "").startswith(why)
    assert admit(pinned, None) == UNKNOWN
    assert admit(pinned, FOUR) is None
    assert "none is isolated here" in (admit(pinned, facts(4)) or "")
    assert place(FOUR, cpus=pinned.cpus).measured == (2, 3)


def test_admission_of_a_control(lab: Lab) -> None:
    idle, spin = lab.plan("axes: {mode: [pinned], load: [idle, spin]}\ncontrol: true").cells
    assert {admit(cell, facts(3)) for cell in (idle, spin)} == {None}
    assert admit(idle, facts(2)) is None
    assert "CPU 0 is the only one and the load's" in (admit(spin, facts(2)) or "")
    assert "the measured CPU is the only one" in (admit(idle, facts(1)) or "")


def test_a_helper_takes_part_in_admission(lab: Lab) -> None:
    (lab.folder / "wake.yaml").write_text(BENCH + "helper: waker-cpu\n")
    (cell,) = lab.plan("benches: [wake]").cells
    assert cell.helper == "waker-cpu"
    assert admit(cell, facts(2)) is None
    assert "helper needs a second CPU" in (admit(cell, facts(1)) or "")
    assert seats_of(cell, facts(3), place(facts(3))).helpers == (1,)
    plan = lab.plan("benches: [wake]")
    assert Plan.from_json(plan.to_json()).cells == plan.cells


def test_probes_that_begin_together_take_a_little_longer(lab: Lab) -> None:
    alone, beside, every = (lab.plan(text).estimate.seconds for text in ("", "control: true", "cpus: all"))
    assert alone < beside == every < alone + 1
    assert lab.plan("attribution: perf").estimate.seconds > alone + 0.5


def test_a_probe_that_always_attributes(lab: Lab) -> None:
    """It is one cell, whether or not attribution is asked for, with the time and the events that it takes."""
    (lab.folder / "wake.yaml").write_text(BENCH + "attributes: always\n")
    (cell,) = lab.plan("benches: [wake]").cells
    assert (cell.attribution, cell.attributes) == ("perf", True)
    assert [cell] == list(lab.plan("benches: [wake]\nattribution: perf").cells)
    assert lab.plan("benches: [gap]").cells[0].attribution == "off"
    assert Plan.from_json(lab.plan("benches: [wake]").to_json()).cells == (cell,)


def test_a_plan_of_before_there_were_controls(lab: Lab) -> None:
    plan = lab.plan("")
    data = plan.to_json()
    for cell in data["cells"]:
        del cell["cpus"], cell["control"], cell["tune"], cell["attribution"]
    assert Plan.from_json(data) == plan
