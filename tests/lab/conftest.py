# SPDX-License-Identifier: Apache-2.0
"""Real kernels in QEMU. Each image is built once and stays in the user's cache; each kind of board comes up once.

Nothing here asserts a latency: under emulation there is none to speak of.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.config.targets import Target, Virtual
from harness.errors import EnvironmentFault
from harness.lab import boards, images, machine
from harness.lab.cache import Cache
from harness.lab.images import Image
from harness.lab.recipes import RECIPES
from harness.lab.state import Record


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--dear", action="store_true", help="tests of boots, too, that take minutes each")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "dear: boots that take minutes, for what unit tests show as well: with --dear")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--dear", default=False):
        for item in items:
            if item.get_closest_marker("dear"):
                item.add_marker(pytest.mark.skip(reason="takes minutes of emulation: make test PYTEST_ARGS=--dear"))


@pytest.fixture(scope="session")
def cache() -> Cache:
    """The user's own: an image takes half a minute to build, and nothing to find."""
    return Cache()


@pytest.fixture(scope="session")
def image(cache: Cache) -> Callable[[str], Image]:
    """An image by name, built at the first use. Skips where it cannot be built or booted."""

    def get(name: str) -> Image:
        try:
            machine.program(RECIPES[name].arch)
            return images.build(RECIPES[name], cache, print)
        except EnvironmentFault as error:
            pytest.skip(f"{error}; {error.advice}")

    return get


@dataclass(frozen=True)
class Board:
    target: Target
    record: Record


@pytest.fixture(scope="session")
def one_at_a_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two emulated machines on two cores are each four times as slow."""
    lock = tmp_path_factory.getbasetemp().parent / "isolbench-lab.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Boards of tests are not the user's. Their folder has a long name, as home folders may have."""
    root = tmp_path_factory.mktemp("state-of-boards-with-a-name-that-is-longer-than-a-socket-may-have-in-this-world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(root))
        yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def box(image: Callable[[str], Image], state: Path, one_at_a_time: None) -> Iterator[Board]:
    """A disk board of x86-64, up for all tests of a file but the last, which may take it down."""
    image("bookworm-x86_64")
    virtual = Virtual(arch="x86_64")
    record = boards.up("box", virtual, print)
    yield Board(Target(name="box", virtual=virtual), record)
    boards.down("box")
