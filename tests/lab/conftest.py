# SPDX-License-Identifier: Apache-2.0
"""Real kernels in QEMU. Each image is built once and stays in the user's cache; each kind of board comes up once.

Nothing here asserts a latency: under emulation there is none to speak of.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.config.targets import Target, Virtual
from harness.errors import EnvironmentFault
from harness.lab import boards, console, images, machine, way
from harness.lab import state as states
from harness.lab.cache import Cache
from harness.lab.images import Image
from harness.lab.recipes import RECIPES
from harness.lab.state import Record
from harness.target.cmdline import MARK

from .counting import Counting

HERE = Path(__file__).parent
#: Of a test, with the boards that it is the first to need, and the time in which another's boards are up.
TIMEOUT_S = 900.0
#: For what takes a board a second or two: patience that a test which passes never has the whole of.
PATIENCE_S = 300.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--dear", action="store_true", help="tests of boots, too, that take minutes each")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "dear: boots that take minutes, for what unit tests show as well: with --dear")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    dear = config.getoption("--dear", default=False)
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        if item.get_closest_marker("dear") and not dear:
            item.add_marker(pytest.mark.skip(reason="takes minutes of emulation: make test PYTEST_ARGS=--dear"))
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


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


@pytest.fixture(scope="session")
def counting(image: Callable[[str], Image]) -> Counting:
    return Counting(image)


@dataclass(frozen=True)
class Board:
    target: Target
    record: Record


@pytest.fixture(scope="module")
def one_at_a_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One file, of all that are tested on this machine now: emulated machines that share cores are slow."""
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


@dataclass
class Boxes:
    """The disk board that files share, one after the other. ``took_s``: how long it took to come up, the last time."""

    took_s: float = 0.0

    def up(self, *, anew: bool) -> Board:
        """It, up as it boots by itself; ``anew``: whatever there is of it now."""
        virtual = Virtual(arch="x86_64")
        if anew or self._was_sent_elsewhere():
            boards.down("box")
        began = time.monotonic()
        record = boards.up("box", virtual, print)  # one that is up is left alone
        self.took_s = max(self.took_s, time.monotonic() - began)
        return Board(Target(name="box", virtual=virtual), record)

    @staticmethod
    def _was_sent_elsewhere() -> bool:
        """Does it run what a campaign booted?"""
        boots = console.boots(way.console_of(states.BoardFolder("box")))
        return bool(boots) and f"{MARK}=" in boots[-1]


@pytest.fixture(scope="session")
def boxes(state: Path) -> Iterator[Boxes]:
    yield Boxes()
    boards.down("box")


@pytest.fixture(scope="module")
def box(
    request: pytest.FixtureRequest, image: Callable[[str], Image], boxes: Boxes, state: Path, one_at_a_time: None
) -> Board:
    """A disk board of x86-64, up for all tests of a file but the last, which may take it down.

    The next file takes it over as it is, but not from one that failed.
    """
    image("bookworm-x86_64")
    return boxes.up(anew=bool(request.session.testsfailed))
