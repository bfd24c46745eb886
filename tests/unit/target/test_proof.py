# SPDX-License-Identifier: Apache-2.0
"""A boot is believed when everything that was asked for is seen, and the error says which of three it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.kernels import BootProfile
from harness.target import cmdline
from harness.target.proof import (
    BootFailed,
    Expected,
    NotBack,
    OldKernel,
    WrongParameters,
    not_back,
    prove,
    quote_console,
)

OWN = "BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 ro quiet splash console=tty0 console=ttyS0,115200 -- single"
QUIET = BootProfile(
    add="isolcpus=managed_irq,domain,2-3 nohz_full=2-3 console=ttyS1",  # type: ignore[arg-type]
    remove=("splash", "console=tty0"),
)
LINE = cmdline.with_profile(OWN, QUIET)
EXPECTED = Expected("next", "6.1.0-rt", "#1 SMP PREEMPT_RT", "ab" * 20, QUIET, "quiet")


def facts(**changes: Any) -> dict[str, Any]:
    kernel = {"release": "6.1.0-rt", "version": "#1 SMP PREEMPT_RT", "build_id": "ab" * 20, "cmdline": LINE}
    cpus = {"isolated": [2, 3], "nohz_full": [2, 3]}
    kernel.update({key: changes.pop(key) for key in list(changes) if key in kernel})
    cpus.update({key: changes.pop(key) for key in list(changes) if key in cpus})
    return {"boot_id": "new", "kernel": kernel, "cpus": cpus, **changes}


def test_the_command_line_that_is_asked_for() -> None:
    assert LINE == (
        "root=/dev/vda1 ro quiet console=ttyS0,115200 isolcpus=managed_irq,domain,2-3 nohz_full=2-3 console=ttyS1 "
        "panic=10 -- single"
    )
    assert cmdline.with_profile("a b", BootProfile()) == "a b panic=10"
    assert cmdline.with_profile("a panic=5", BootProfile(remove=("panic",))) == "a"
    masked = cmdline.with_profile("systemd.mask=x systemd.mask=y", BootProfile(add="systemd.mask=z"))  # type: ignore[arg-type]
    assert masked == "systemd.mask=x systemd.mask=y systemd.mask=z panic=10"
    assert cmdline.with_profile("panic=0 x_y=1", BootProfile(add="panic=5 x-y=2")) == "panic=5 x-y=2"  # type: ignore[arg-type]


def test_the_machines_own_parameters_arrive_as_well() -> None:
    own = BootProfile(add='acpi_osi="Windows 2009"')  # type: ignore[arg-type]
    expected = replace(EXPECTED, line=cmdline.with_profile(LINE.partition(" -- ")[0], own))
    prove(expected, "old", facts(cmdline=f'"acpi_osi=Windows 2009" panic=10 {LINE}'))
    broken = r'"acpi_osi=\"Windows 2009\""'
    with pytest.raises(
        WrongParameters, match=r'\(quiet\): acpi_osi="Windows 2009", which the machine boots with by itself'
    ):
        prove(expected, "old", facts(cmdline=f"{broken} {LINE}"))


def test_what_was_asked_for_is_proved() -> None:
    proof = prove(EXPECTED, "old", facts())
    assert proof.to_json() == {
        "boot_id": "new", "release": "6.1.0-rt", "version": "#1 SMP PREEMPT_RT", "build_id": "ab" * 20, "cmdline": LINE,
        "isolated": [2, 3], "nohz_full": [2, 3], "artefact": None,
    }  # fmt: skip
    prove(EXPECTED, None, facts())
    prove(EXPECTED, "old", facts(build_id=None))  # nobody but root may read it everywhere
    prove(Expected("default", None, None, None, BootProfile()), "old", facts(release="x", cmdline=OWN))


DISBELIEVED: list[tuple[dict[str, Any], type[BootFailed], str]] = [
    ({"boot_id": "old"}, OldKernel, "did not boot: the boot id is the same, and 6.1.0-rt runs on"),
    ({"boot_id": None}, OldKernel, "did not boot"),
    ({"release": "6.1.0"}, OldKernel, "came back with the kernel 6.1.0 instead of 6.1.0-rt (next)"),
    (
        {"build_id": "cd" * 20},
        OldKernel,
        "came back with another build of 6.1.0-rt: build id cdcdcdcdcdcd instead of abababababab (next)",
    ),
    ({"version": "#2 SMP"}, OldKernel, "another build of 6.1.0-rt: '#2 SMP' instead of '#1 SMP PREEMPT_RT' (next)"),
    (
        {"cmdline": LINE.replace("nohz_full=2-3", "")},
        WrongParameters,
        "came back with wrong parameters (quiet): nohz_full=2-3 is not on its command line, or another comes after it",
    ),
    ({"cmdline": LINE.replace(" --", " nohz_full=1 --")}, WrongParameters, "nohz_full=2-3 is not on its command line"),
    ({"cmdline": LINE.replace("panic", "nohz-full=1 panic")}, WrongParameters, "nohz_full=2-3 is not on its"),
    ({"cmdline": "splash " + LINE}, WrongParameters, "splash is still there"),
    ({"cmdline": "console=tty0 " + LINE}, WrongParameters, "console=tty0 is still there"),
    ({"cmdline": f"{OWN} {LINE}"}, WrongParameters, "; "),  # behind --, all of it is init's
    ({"isolated": [3]}, WrongParameters, "the kernel has isolated 3 where 2-3 was asked for"),
    ({"isolated": []}, WrongParameters, "the kernel has isolated nothing where 2-3 was asked for"),
    (
        {"nohz_full": []},
        WrongParameters,
        "the kernel has nohz_full nothing where 2-3 was asked for; is it built with CONFIG_NO_HZ_FULL?",
    ),
]


@pytest.mark.parametrize(("changes", "kind", "message"), DISBELIEVED, ids=[message[:50] for *_, message in DISBELIEVED])
def test_what_is_not_believed(changes: dict[str, Any], kind: type[BootFailed], message: str) -> None:
    with pytest.raises(kind) as caught:
        prove(EXPECTED, "old", facts(**changes))
    assert message in str(caught.value)
    assert caught.value.fault == "infrastructure"


def test_one_kernel_with_two_profiles_that_fell_back() -> None:
    """The release says nothing then; the mark of every boot of ours does."""
    expected = Expected("default", "6.1.0-rt", None, None, QUIET, "quiet", mark="isolbench.boot=installed/quiet")
    mark = r"and not with isolbench\.boot=installed/quiet \(default quiet\)"
    # The second: of what was asked for, the machine's own line has a part.
    for line in ("ro", "ro nohz_full=2-3", LINE):
        with pytest.raises(OldKernel, match=rf"the kernel 6\.1\.0-rt as it boots by itself, {mark}"):
            prove(expected, "old", facts(cmdline=line, isolated=[], nohz_full=[]))
    with pytest.raises(OldKernel, match=rf"with isolbench\.boot=1/quiet on its command line, {mark}"):
        prove(expected, "old", facts(cmdline=f"isolbench.boot=1/quiet {LINE}"))
    with pytest.raises(WrongParameters):
        prove(expected, "old", facts(cmdline="ro isolbench.boot=installed/quiet"))
    prove(expected, "old", facts(cmdline=f"isolbench.boot=installed/quiet {LINE}"))


def test_several_of_one_name_are_all_in_force() -> None:
    huge = BootProfile(add="hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=512")  # type: ignore[arg-type]
    line = cmdline.with_profile("ro hugepages=9", huge)
    expected = Expected("n", None, None, None, huge)
    prove(expected, "old", facts(cmdline=line))
    for wrong in (f"{line} hugepages=1", line.replace("hugepages=4 ", ""), line.replace("=512", "=513")):
        with pytest.raises(WrongParameters, match="hugepages=4 is not on its command line, or another comes after it"):
            prove(expected, "old", facts(cmdline=wrong))


def test_quotation_marks_may_have_moved() -> None:
    expected = Expected("n", None, None, None, BootProfile(add='dyndbg="file a.c +p"'))  # type: ignore[arg-type]
    prove(expected, "old", facts(cmdline='ro "dyndbg=file a.c +p"'))


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("2-3", (2, 3)),
        ("domain,2,4", (2, 4)),
        ("nohz,domain,1", (1,)),
        ("managed_irq,1", None),
        ("nohz,N", None),
        ("", ()),
    ],
)
def test_what_isolcpus_takes_from_the_scheduler(text: str, cpus: tuple[int, ...] | None) -> None:
    found = cmdline.asked_isolated([f"isolcpus={text}"])
    assert found == cpus or (not text and found is None)


PARAMETER = st.from_regex(r"\A[ab_-][a-c_-]{0,2}(=[0-9]{0,2})?\Z").filter(lambda text: text != "--")


@given(
    st.lists(PARAMETER, max_size=6),
    st.lists(PARAMETER, max_size=4, unique=True),
    st.lists(PARAMETER, max_size=2),
)
def test_what_is_made_is_what_is_believed(own: list[str], add: list[str], remove: list[str]) -> None:
    profile = BootProfile(add=tuple(add), remove=tuple(remove))
    line = cmdline.with_profile(" ".join(own), profile)
    prove(Expected("n", None, None, None, profile), "old", facts(cmdline=line))
    again = cmdline.with_profile(line, profile)
    assert sorted(again.split()) == sorted(line.split())


def test_who_did_not_come_back_is_quoted() -> None:
    console = "[ 1.0] booting\r\n[ 1.1] Kernel panic - not syncing: VFS\x1b[0m\n[ 1.2] Call Trace:\n\n"
    error = not_back(180, "connection refused", console)
    assert isinstance(error, NotBack)
    assert str(error) == (
        "did not come back within 180 s (connection refused); its console ends: "
        "[ 1.1] Kernel panic - not syncing: VFS [0m | [ 1.2] Call Trace:"
    )
    assert str(not_back(60)) == "did not come back within 60 s"
    assert not_back(60).advice


@given(st.text(max_size=400))
def test_a_quote_is_one_printable_line(console: str) -> None:
    quoted = quote_console(console)
    assert quoted.isprintable()
    assert len(quoted) <= 6 * 163
