# SPDX-License-Identifier: Apache-2.0
"""What is booted: which sessions, in which order, what a plan refuses, and what it costs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent.spec import LoadSpec, ModeSpec
from harness.cli.words import bench_titles
from harness.config.campaign import load_campaign
from harness.config.given import to_kernel
from harness.config.inventory import Inventory, read_inventory
from harness.config.yaml import parse
from harness.errors import PlanError, UserError
from harness.plan import Booted, Cell, Plan, build_plan, estimate, lacks, order, sessions_of

ONE = Cell("c", "t", "b", {}, ModeSpec("shared"), LoadSpec("idle"), 0, 1_900_000_000)
BOOTED = st.lists(
    st.builds(Booted, st.sampled_from(["default", "a", "b"]), st.sampled_from(["plain", "q"])), min_size=1, unique=True
)


def cells_of(booted: list[Booted], count: int = 2) -> list[Cell]:
    return [
        replace(ONE, id=f"c{number}-{each.kernel}-{each.boot}", kernel=each.kernel, boot=each.boot)
        for each in booted
        for number in range(count)
    ]


@given(BOOTED, st.integers(1, 5), st.integers(1, 3), st.text(max_size=4))
def test_each_is_booted_once_a_session_and_the_turns_run_to_and_fro(
    booted: list[Booted], sessions: int, repeat: int, seed: str
) -> None:
    found = sessions_of(cells_of(booted), repeat, sessions, seed, boots=True)
    turns = [found[at : at + len(booted)] for at in range(0, len(found), len(booted))]
    assert [{each.index for each in turn} for turn in turns] == [{number + 1} for number in range(sessions)]
    orders = [[each.booted for each in turn] for turn in turns]
    assert all(sorted(turn, key=str) == sorted(booted, key=str) for turn in orders)  # type: ignore[arg-type]
    assert all(back == there[::-1] for there, back in zip(orders[::2], orders[1::2], strict=False))
    assert all(cell.booted == each.booted for each in found for cell, _ in each.runs)
    runs = Counter((cell.id, number) for each in found for cell, number in each.runs)
    assert set(runs.values()) == {1}
    assert len(runs) == len(booted) * 2 * repeat * sessions


@given(BOOTED, st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.text(max_size=4))
def test_drift_within_the_sessions_adds_the_same_to_every_cell(
    booted: list[Booted], sessions: int, repeat: int, count: int, seed: str
) -> None:
    """Whatever is booted, however many runs: over pairs of rounds each cell has the same places in its sessions."""
    if sessions * repeat % 2:
        repeat *= 2
    found = sessions_of(cells_of(booted, count), repeat, sessions, seed, boots=True)
    for each in booted:
        runs = [cell.id for session in found if session.booted == each for cell, _ in session.runs]
        places: Counter[str] = Counter()
        for place, cell in enumerate(runs):
            places[cell] += place
        assert len(set(places.values())) == 1


def test_slow_drift_over_the_boots_adds_the_same_to_each() -> None:
    booted = [Booted(kernel, boot) for kernel in ("default", "next") for boot in ("plain", "quiet")]
    found = sessions_of(cells_of(booted), 2, 4, "s", boots=True)
    places: Counter[Booted | None] = Counter()
    for place, each in enumerate(found):
        places[each.booted] += place
    assert len(set(places.values())) == 1


def test_runs_keep_their_session_whatever_else_is_booted() -> None:
    alone = sessions_of(cells_of([Booted("a", "q")]), 2, 3, "s", boots=True)
    among = sessions_of(cells_of([Booted("a", "q"), Booted()]), 2, 3, "s", boots=True)
    assert [each for each in among if each.booted == Booted("a", "q")] == alone


def test_without_boots_nothing_changed() -> None:
    cells = cells_of([Booted()], 5)
    assert sessions_of(cells, 2, 3, "s", boots=False) == order(cells, 2, 3, "s")
    assert all(each.booted is None for each in order(cells, 2, 3, "s"))


def test_boots_are_counted_and_take_their_time() -> None:
    cells = cells_of([Booted(), Booted("a")], 3)
    without, found = estimate(cells, 2, 4), estimate(cells, 2, 4, boots=True, boot_s=40.0)
    assert (without.boots, found.boots) == (0, 2 * 4 + 1)  # and back to what it boots by itself
    assert found.seconds == without.seconds + 9 * 40.0


BENCH = "probe: gap\nmetrics: {gap_ns: {better: lower, gate: p99.99}}\n"
INVENTORY = """\
targets:
  nuc: {address: n, boot: kexec, isolated: 2-3, arch: x86_64}
  pi: {address: p, boot: tryboot, arch: aarch64, isolated: 3}
  auto: {address: a, boot: kexec}
  still: {address: s}
kernels:
  rt: {installed: 6.1.0-rt}
  next: {x86_64: {image: bzImage}}
  own: {installed: true}
  same: {image: ../lab/bzImage}
  many: {installed: "*-rt"}
boots: {quiet: {add: "nohz_full={isolated}"}, calm: {add: idle=poll}}
"""
HEAD = "campaign: c\nbenches: [b]\nduration: 1s\n"


def plan(folder: Path, text: str, **more: object) -> Plan:
    (folder / "b.yaml").write_text(BENCH)
    (folder / "c.yaml").write_text(HEAD + text)
    return build_plan(load_campaign(folder / "c.yaml"), lab(), **more)  # type: ignore[arg-type]


def lab() -> Inventory:
    return read_inventory(parse(INVENTORY, "i.yaml"), Path("/lab/i.yaml"))


def test_a_plan_with_boots_comes_back_from_its_file(tmp_path: Path) -> None:
    found = plan(tmp_path, "targets: [nuc]\naxes: {kernel: [default, rt], boot: [plain, quiet]}\nsessions: 2\n")
    assert [cell.booted for cell in found.cells] == [
        Booted("default", "plain"), Booted("default", "quiet"), Booted("rt", "plain"), Booted("rt", "quiet"),
    ]  # fmt: skip
    again = Plan.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert again.boots
    assert again.profiles["quiet"].add == ("nohz_full={isolated}",)
    assert again.kernels["rt"].artefact("x86_64") is not None


def test_a_plan_without_them_boots_nothing_also_after_its_file(tmp_path: Path) -> None:
    found = plan(tmp_path, "targets: [still, local]\nsessions: 2\n")
    again = Plan.from_json(json.loads(json.dumps(found.to_json())))
    assert (found.boots, again.boots, again.estimate.boots) == (False, False, 0)


def test_filters_name_kernels_and_boots(tmp_path: Path) -> None:
    axes = "targets: [nuc]\naxes: {kernel: [default, rt, next], boot: [plain, quiet]}\n"
    found = plan(tmp_path, axes + "exclude: [{kernel: [rt, n*], boot: plain}]\n")
    assert [str(cell.booted) for cell in found.cells] == ["default plain", "default quiet", "rt quiet", "next quiet"]
    assert found.filtered == 2
    assert [str(cell.booted) for cell in plan(tmp_path, axes, sets=["kernel=rt", "boot=calm"]).cells] == ["rt calm"]


REFUSED = [
    (
        "targets: [nuc]\naxes: {kernel: [nxt]}",
        "c.yaml:5:17: axes.kernel[0]: no kernel in the inventory is called 'nxt'",
    ),
    (
        "targets: [nuc]\naxes: {boot: [queit]}",
        "no boot profile in the inventory is called 'queit'; did you mean 'quiet'?",
    ),
    ("targets: [still]\naxes: {kernel: [rt]}", "still: the inventory does not say how to boot it"),
    ("targets: [local]\naxes: {kernel: [rt]}", "local: this machine steers the campaign: it is not booted"),
    ("targets: [auto]\naxes: {boot: [quiet]}", "auto: boot profile 'quiet' wants {isolated}, and isolated is no list"),
    ("targets: [pi]\naxes: {kernel: [next]}", "pi: kernel 'next' has nothing for aarch64 (only for x86_64)"),
    ("targets: [nuc]\naxes: {kernel: [default, own]}", "axes.kernel[1]: 'own' and 'default' are one kernel"),
    (
        "targets: [nuc]\naxes: {kernel: [next, same]}",
        "axes.kernel[1]: 'same' and 'next' are one kernel under two names",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_cannot_be_booted_is_a_plan_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan(tmp_path, text + "\n")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_one_target_cannot_have_another_can(tmp_path: Path) -> None:
    found = plan(tmp_path, "targets: [nuc, pi]\naxes: {kernel: [next]}\n")
    assert found.targets == ("nuc", "pi")
    kernel = found.kernels["next"]
    assert lacks(kernel, "x86_64") is None
    assert lacks(kernel, "aarch64") == "kernel 'next' has nothing for aarch64 (only for x86_64)"
    assert lacks(kernel, None) is None  # it is not known yet


def test_an_installed_kernel_is_there_or_not() -> None:
    kernels = lab().kernels

    def why(name: str, *installed: str) -> str | None:
        return lacks(kernels[name], "x86_64", {"kernels": {"installed": list(installed)}})

    assert why("rt", "6.1.0", "6.1.0-rt", "6.1.0-rt-rt") is None
    assert why("rt", "6.1.0") == "kernel 'rt': 6.1.0-rt is not installed there (found: 6.1.0)"
    assert why("rt") == "kernel 'rt': 6.1.0-rt is not installed there (found: none)"
    assert why("many", "6.1.0", "6.1.0-rt") is None
    assert why("many", "6.1-rt", "6.2-rt") == "kernel 'many': *-rt is 6.1-rt, 6.2-rt there: which of them is not said"
    assert why("own") is None
    assert why("next") is None
    assert lacks(kernels["rt"], "x86_64", {}) is None  # an agent that does not say


def test_tonights_kernel(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "bzImage").write_bytes(b"")
    name, artefact = to_kernel(f"next={tmp_path}/k")
    text = "targets: [pi]\naxes: {kernel: [next]}\n"
    found = plan(tmp_path, text, kernels={name: artefact}).kernels["next"].artefact("aarch64")
    assert found is not None
    assert found.image == str(tmp_path / "k" / "bzImage")
    with pytest.raises(PlanError, match="the campaign has no kernel 'nxt'; did you mean 'next'"):
        plan(tmp_path, text.replace("pi", "nuc"), kernels={"nxt": artefact})


def files(folder: Path, *names: str) -> str:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return str(folder)


def test_what_lies_at_the_path(tmp_path: Path) -> None:
    image = files(tmp_path / "i", "bzImage", "modules.tar.gz", "config", "dtbs/a.dtb", "System.map")
    found = to_kernel(f"n={image}")[1]
    assert found.model_dump(exclude_none=True) == {
        "image": f"{image}/bzImage", "modules": f"{image}/modules.tar.gz", "config": f"{image}/config",
        "dtbs": f"{image}/dtbs",
    }  # fmt: skip
    debs = files(
        tmp_path / "d", "linux-image-6.1_1_amd64.deb", "linux-image-6.1-dbg_1_amd64.deb", "linux-headers-6_1.deb"
    )
    assert to_kernel(f"n={debs}")[1].deb == f"{debs}/linux-image-6.1_1_amd64.deb"
    tar = files(tmp_path / "t", "linux-6.1-x86.tar.gz", "README")
    assert to_kernel(f"n={tar}")[1].tar == f"{tar}/linux-6.1-x86.tar.gz"
    merged = files(tmp_path / "u", "Image", "usr/lib/modules/6.1/modules.dep")
    assert to_kernel(f"n={merged}")[1].modules == merged
    tree = files(tmp_path / "m", "Image", "lib/modules/6.1/modules.dep")
    assert to_kernel(f"n={tree}")[1].modules == tree
    assert to_kernel(f"n={tree}/Image")[1].image == f"{tree}/Image"


@pytest.mark.parametrize(
    "text", ["next", "=x", "next=", "a/b=x", "default=/", "next=/no/such", "next={empty}", "next={two}"]
)
def test_what_is_no_kernel_on_the_command_line(tmp_path: Path, text: str) -> None:
    text = text.format(empty=files(tmp_path / "e"), two=files(tmp_path / "z", "Image", "bzImage"))
    with pytest.raises(UserError, match=r"^--kernel "):
        to_kernel(text)


def test_what_is_booted_sets_a_bench_apart(tmp_path: Path) -> None:
    """In reports and trends they are never one table, nor under one name."""
    found = plan(tmp_path, "targets: [nuc]\naxes: {kernel: [default, rt], boot: [plain, quiet]}\n")
    assert list(bench_titles(found).values()) == ["b", "b boot=quiet", "b kernel=rt", "b kernel=rt boot=quiet"]
