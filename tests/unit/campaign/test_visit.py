# SPDX-License-Identifier: Apache-2.0
"""Many targets asked at once: a bounded number, their answers in order, a failure in its turn."""

from __future__ import annotations

import threading

import pytest

from harness.campaign.visit import AT_ONCE, visit
from harness.config.inventory import Target

MANY = [Target(name=f"t{number}", address="x") for number in range(3 * AT_ONCE)]


def test_answers_come_in_order_whoever_is_slow() -> None:
    others = threading.Event()

    def ask(target: Target) -> str:
        if target.name == "t0":
            assert others.wait(30)  # the first answers after the last has
        elif target.name == MANY[-1].name:
            others.set()
        return target.name.upper()

    assert list(visit(MANY, ask)) == [(target, target.name.upper()) for target in MANY]


def test_so_many_at_a_time_and_no_more() -> None:
    lock, all_there = threading.Lock(), threading.Barrier(AT_ONCE)
    now, most = 0, 0

    def ask(target: Target) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        all_there.wait(30)
        with lock:
            now -= 1

    assert len(list(visit(MANY, ask))) == len(MANY)
    assert most == AT_ONCE


def test_an_answer_is_had_before_the_next_one_is_there() -> None:
    second = threading.Event()

    def ask(target: Target) -> str:
        assert target.name == "t0" or second.wait(30)
        return target.name

    answers = visit(MANY[:2], ask)
    assert next(answers)[1] == "t0"
    second.set()
    assert next(answers)[1] == "t1"


def test_what_is_raised_is_raised_in_its_turn() -> None:
    def ask(target: Target) -> str:
        if target.name == "t1":
            raise ValueError(target.name)
        return target.name

    answers = visit(MANY[:3], ask)
    assert next(answers)[1] == "t0"
    with pytest.raises(ValueError, match="t1"):
        next(answers)


def test_nobody() -> None:
    assert list(visit([], lambda target: target)) == []


def test_an_error_that_is_returned_is_an_answer() -> None:
    """Of 48 boards one that is off must not keep the others' answers back."""
    gone = OSError("off")
    found = [each for _, each in visit(MANY[:3], lambda target: gone if target.name == "t1" else target.name)]
    assert found == ["t0", gone, "t2"]
