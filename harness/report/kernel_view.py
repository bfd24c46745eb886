# SPDX-License-Identifier: Apache-2.0
"""The types of what reports say of kernels and boots: who they are, and what was booted. Frozen."""

from __future__ import annotations

from dataclasses import dataclass

#: A kernel and a boot profile, by name.
Booted = tuple[str, str]


def name_of(booted: Booted) -> str:
    """In one word or two."""
    return " ".join(filter(None, booted))


@dataclass(frozen=True)
class KernelView:
    """Who a kernel is, as its runs and the proofs of its boots say. Texts are empty where nothing is known."""

    name: str
    release: str
    version: str
    preempt: str
    build_id: str
    config_sha256: str
    artefact_sha256: str


@dataclass(frozen=True)
class BootFailure:
    """Boots that failed alike: of these ``sessions``, ``number`` tries; ``given_up`` sessions were not measured."""

    reason: str
    sessions: tuple[int, ...]
    number: int
    given_up: int


@dataclass(frozen=True)
class BootedView:
    """A kernel with a boot profile on a target: a column of its comparisons.

    ``cmdline`` is what was seen, ``added`` and ``removed`` what that has and lacks beside the first column's.
    ``boots`` were proved, of as many ``sessions`` as were asked for; ``took_s`` is how long each took.
    """

    booted: Booted
    cmdline: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    first: bool
    sessions: int
    boots: int
    took_s: tuple[float, ...]
    failures: tuple[BootFailure, ...]

    @property
    def name(self) -> str:
        return " ".join(self.booted)

    @property
    def given_up(self) -> int:
        return sum(each.given_up for each in self.failures)
