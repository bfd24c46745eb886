# SPDX-License-Identifier: Apache-2.0
"""Proof that a boot brought what was asked for: a pure judgement over what the machine says of itself afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config.kernels import BootProfile
from ..config.units import format_cpu_list
from ..errors import InfrastructureFault
from ..lab.console import last_lines, trouble
from . import cmdline

#: Of a console's end, what is quoted in a message: lines, and characters of each.
_QUOTED_LINES, _QUOTED_COLUMNS = 4, 160


class BootFailed(InfrastructureFault):
    """A boot did not bring what was asked for. ``kind`` is one word for machines."""

    kind = "boot"


class NotBack(BootFailed):
    """The machine did not answer again."""

    kind = "not-back"


class OldKernel(BootFailed):
    """It runs another kernel than the one that was asked for: mostly the one that it boots by itself."""

    kind = "old-kernel"


class WrongParameters(BootFailed):
    """It runs the kernel, but not as the boot profile wants it."""

    kind = "wrong-parameters"


@dataclass(frozen=True)
class Expected:
    """What has to run after a boot; None where it is not known, and so cannot be asked for.

    ``mark`` is on the command line of every boot of ours: without it, it is what the machine boots by itself.
    ``artefact`` is the identity of a kernel of ours, as plain data. ``line`` is the command line that the boot loader
    was given: what it made of the machine's own parameters nobody else looks at.
    """

    name: str
    release: str | None
    version: str | None
    build_id: str | None
    profile: BootProfile
    profile_name: str = ""
    mark: str | None = None
    artefact: Mapping[str, Any] | None = None
    line: str = ""


@dataclass(frozen=True)
class Proof:
    """What was seen: kept with the results of the session."""

    boot_id: str
    release: str
    version: str
    build_id: str | None
    cmdline: str
    isolated: tuple[int, ...]
    nohz_full: tuple[int, ...]
    artefact: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "boot_id": self.boot_id,
            "release": self.release,
            "version": self.version,
            "build_id": self.build_id,
            "cmdline": self.cmdline,
            "isolated": list(self.isolated),
            "nohz_full": list(self.nohz_full),
            "artefact": None if self.artefact is None else dict(self.artefact),
        }


def not_back(seconds: float | None, said: str | None = None, console: str | None = None) -> NotBack:
    """The error of a machine that did not answer within ``seconds`` (None: it was not waited for to the end).

    ``said`` is what the last try to connect met.
    """
    what = "did not come back" if seconds is None else f"did not come back within {seconds:.0f} s"
    if said:
        what += f" ({said})"
    if console is not None and (quoted := quote_console(console)):
        return NotBack(f"{what}; its console ends: {quoted}")
    return NotBack(what, advice=None if console is not None else "its console would say why")


def told_by(error: BootFailed, console: str | None) -> str:
    """The error's message, with what a console says of why, if it says anything of the kind.

    Where the kernel runs, what its console complains of is not the reason.
    """
    done = isinstance(error, WrongParameters) or "its console ends" in str(error)
    if console is None or done or trouble(console) is None:
        return str(error)
    return f"{error}; its console said: {quote_console(console)}"


def quote_console(console: str) -> str:
    """A panic, an oops or a lockup that a console tells of, else its end; in one line."""
    found = trouble(console)
    lines = found.quote[:_QUOTED_LINES] if found is not None else last_lines(console, _QUOTED_LINES)
    plain = ("".join(char if char.isprintable() else " " for char in line) for line in lines)
    return " | ".join(" ".join(line.split())[:_QUOTED_COLUMNS] for line in plain)


def prove(expected: Expected, before: str | None, facts: Mapping[str, Any]) -> Proof:
    """What runs, if it is what was ``expected``; else OldKernel or WrongParameters, in one line with all that is wrong.

    ``before`` is the boot id from before the boot, ``facts`` the agent's from after it.
    """
    kernel = facts.get("kernel") or {}
    cpus = facts.get("cpus") or {}
    proof = Proof(
        boot_id=str(facts.get("boot_id") or ""),
        release=str(kernel.get("release") or ""),
        version=str(kernel.get("version") or ""),
        build_id=kernel.get("build_id"),
        cmdline=str(kernel.get("cmdline") or ""),
        isolated=tuple(sorted(cpus.get("isolated") or ())),
        nohz_full=tuple(sorted(cpus.get("nohz_full") or ())),
        artefact=expected.artefact,
    )
    if not proof.boot_id or proof.boot_id == before:
        raise OldKernel(f"did not boot: the boot id is the same, and {proof.release or 'its old kernel'} runs on")
    _check_kernel(expected, proof)
    if expected.mark is not None and cmdline.missing(proof.cmdline, [expected.mark]):
        other = cmdline.still_there(proof.cmdline, [cmdline.name_of(expected.mark)])
        ran = f"with {other[-1]} on its command line" if other else "as it boots by itself"
        raise OldKernel(
            f"came back with the kernel {proof.release} {ran}, and not with {expected.mark} "
            f"({expected.name} {expected.profile_name})"
        )
    if wrong := _wrong_parameters(expected.profile, proof) or _lost(expected.line, proof):
        named = f" ({expected.profile_name})" if expected.profile_name else ""
        raise WrongParameters(f"came back with wrong parameters{named}: {'; '.join(wrong)}")
    return proof


def _check_kernel(expected: Expected, proof: Proof) -> None:
    if expected.release is not None and proof.release != expected.release:
        raise OldKernel(f"came back with the kernel {proof.release} instead of {expected.release} ({expected.name})")
    if expected.build_id is not None and proof.build_id is not None and proof.build_id != expected.build_id:
        raise OldKernel(
            f"came back with another build of {proof.release}: build id {proof.build_id[:12]} instead of "
            f"{expected.build_id[:12]} ({expected.name})"
        )
    if expected.version is not None and proof.version.strip() != expected.version.strip():
        raise OldKernel(
            f"came back with another build of {proof.release}: {proof.version!r} instead of {expected.version!r} "
            f"({expected.name})"
        )


def _lost(line: str, proof: Proof) -> list[str]:
    """What of ``line`` did not arrive. Where it stands is of no concern: it is as the machine has it by itself."""
    arrived = cmdline.kernels_own(proof.cmdline)
    lost = [each for each in cmdline.kernels_own(line) if not any(cmdline.same(each, one) for one in arrived)]
    return [f"{each}, which the machine boots with by itself, did not arrive" for each in lost]


def _wrong_parameters(profile: BootProfile, proof: Proof) -> list[str]:
    lacks = cmdline.missing(proof.cmdline, profile.add)
    wrong = [f"{each} is not on its command line, or another comes after it" for each in lacks]
    left = cmdline.still_there(proof.cmdline, profile.remove)
    wrong += [f"{each} is still there" for each in left if not any(cmdline.same(each, one) for one in profile.add)]
    if wrong:
        return wrong
    for what, asked, found in (
        ("isolated", cmdline.asked_isolated(profile.add), proof.isolated),
        ("nohz_full", cmdline.asked_nohz_full(profile.add), proof.nohz_full),
    ):
        if asked is not None and asked != found:
            seen = format_cpu_list(found) if found else "nothing"
            why = "; is it built with CONFIG_NO_HZ_FULL?" if what == "nohz_full" and not found else ""
            wrong.append(f"the kernel has {what} {seen} where {format_cpu_list(asked)} was asked for{why}")
    return wrong
