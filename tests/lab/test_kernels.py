# SPDX-License-Identifier: Apache-2.0
"""Kernels as artefacts, on a real board: sent, installed, booted and proved; and the disk afterwards is as before.

The kernel is Debian's own, another than the board has, with those of its modules that a board has a use for.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.execution import Execution, load
from harness.config.inventory import load_inventory
from harness.config.kernels import Artefact
from harness.deadline import Deadline
from harness.errors import EnvironmentFault
from harness.lab import recipes
from harness.lab.cache import Cache
from harness.lab.images import Image
from harness.lab.images import find as find_image
from harness.store.runs import iter_runs
from harness.target.hands import Hands
from harness.target.kernels import Bundle, identify
from harness.target.session import open_session
from harness.target.transport import Transport, open_transport

from .conftest import PATIENCE_S, Board

DEBS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isolbench" / "test-debs"
INVENTORY = """\
targets: {{box: {{virtual: {{arch: x86_64}}, isolated: 1, boot: kexec}}}}
kernels: {{next: {{deb: {deb}}}, lost: {{installed: 6.99-lost}}}}
"""
CAMPAIGN: dict[str, Any] = {
    "campaign": "next", "targets": ["box"], "benches": ["gap"], "duration": "1s", "settle": "0s",
    "axes": {"kernel": ["next", "lost"], "mode": ["pinned"]}, "retry": {"infrastructure": 1, "invalid": 0},
}  # fmt: skip
#: What runs, and all of a board's disk that has to do with kernels.
LOOK = (
    "uname -r; find /boot /lib/modules/ /var/lib/isolbench/kernels -xdev "
    "! -type d -printf '%p %y %U %m %s %T@ %l\\n' -o "
    "-printf '%p %y %U %m\\n' 2>/dev/null | sort; cat /boot/grub/custom.cfg 2>&1 || true"
)


@dataclass(frozen=True)
class Forms:
    """One kernel in three forms: of the same build, and each with a hash of its own."""

    release: str
    deb: Path
    tar: Path
    image: Path
    modules: Path


@pytest.fixture(scope="module")
def forms(box: Board, tmp_path_factory: pytest.TempPathFactory) -> Forms:
    there = [kernel.release for kernel in board_image().kernels.values()]
    packages = sorted(DEBS.glob("linux-image-6.1.*-rt-amd64_*.deb"))
    found = [package for package in packages if not any(f"-{release}_" in package.name for release in there)]
    if not found:
        pytest.skip(f"no kernel package in {DEBS} that a board has not: tests/setup.sh fetches it with apt-get")
    folder = tmp_path_factory.mktemp("forms")
    files = files_of(found[-1])
    image = next(name for name in files if "/vmlinuz-" in name)
    release = image.partition("vmlinuz-")[2]
    whole = tar_of(files)
    made = Forms(release, *(folder / name for name in ("k.deb", "k.tar.gz", "vmlinuz", "modules.tar.gz")))
    made.tar.write_bytes(whole)
    made.image.write_bytes(files[image])
    made.modules.write_bytes(tar_of({name: data for name, data in files.items() if "/lib/modules/" in name}))
    out = b"!<arch>\n"
    for name, part in (("debian-binary", b"2.0\n"), ("data.tar.gz", whole)):
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(part):<10}`\n"
        out += head.encode() + part + b"\n" * (len(part) % 2)
    made.deb.write_bytes(out)
    return made


def files_of(package: Path) -> dict[str, bytes]:
    """Of a kernel's package the image, the configuration, and the modules that a board cannot be without."""
    files: dict[str, bytes] = {}
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as source,
        tarfile.open(fileobj=source.stdout, mode="r|") as archive,
    ):
        for member in archive:
            wanted = member.name.startswith(("./boot/vmlinuz-", "./boot/config-")) or recipes.place(member.name)
            file = archive.extractfile(member) if wanted else None
            if file is not None:
                files[member.name] = file.read()
    modules = {Path(name).stem.replace("-", "_"): name for name in files if name.endswith(".ko")}
    needs = {module: recipes.module_needs(files[name]) for module, name in modules.items()}
    kept = {modules[module] for module in recipes.load_order(recipes.FIRST_MODULES, needs)}
    return {name: data for name, data in files.items() if not name.endswith(".ko") or name in kept}


def tar_of(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return raw.getvalue()


def disk(transport: Transport) -> str:
    done = transport.run(["sudo", "sh", "-c", LOOK], deadline=Deadline.after(PATIENCE_S))
    assert done.ok, done.last_words()
    return done.stdout.decode()


@contextmanager
def logged_in(box: Board) -> Iterator[Transport]:
    with closing(open_transport(box.target)) as transport:
        yield transport


def sent_for(hands: Hands, bundle: Bundle) -> int | None:
    """Have it installed; how many bytes were sent for that. None: it was there."""
    told: list[int] = []
    entry = hands.install(bundle, lambda _done, total: told.append(total))
    assert entry["id"] == bundle.build
    return told[0] if told else None


def isolbench(*words: object) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "harness", *map(str, words)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def killed_when_sent(folder: Path) -> Execution:
    """A run whose controller is killed between sending a kernel and booting it."""
    words = ["run", folder / "c.yaml", "--inventory", folder / "lab.yaml", "--results", folder / "results"]
    with subprocess.Popen([sys.executable, "-m", "harness", *map(str, words)], stderr=subprocess.PIPE) as process:
        try:
            while process.poll() is None:
                for path in folder.glob("results/next/*/events.jsonl"):
                    events = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
                    if any(each["kind"] == "uploaded" and each["bytes"] == each["of"] for each in events):
                        process.send_signal(signal.SIGKILL)
                        process.wait()
                time.sleep(0.05)
        finally:
            process.kill()
        assert process.returncode == -signal.SIGKILL, process.communicate()
    return load(next((folder / "results/next").glob("2*")))


@pytest.mark.timeout(900)  # two emulated boots, and what comes before and after them
def test_a_package_is_installed_booted_proved_measured_and_removed(box: Board, forms: Forms, tmp_path: Path) -> None:
    """In one go, for two boots: the controller is killed on the way, and another one goes on."""
    (tmp_path / "lab.yaml").write_text(INVENTORY.format(deb=forms.deb))
    (tmp_path / "c.yaml").write_text(json.dumps(CAMPAIGN))
    # the board may be another file's, whose boots leave what is armed and noted until it is restored
    assert isolbench("restore", "--kernels", "box", "--inventory", tmp_path / "lab.yaml").returncode == 0
    with logged_in(box) as transport:
        before = disk(transport)

    execution = killed_when_sent(tmp_path)
    done = isolbench("resume", execution.path)
    events = [json.loads(line) for line in (execution.path / "events.jsonl").read_text().splitlines()]
    installed = [each["bytes"] for each in events if each["kind"] == "installing"]
    assert installed[0] > 8_000_000, done.stderr
    assert installed[1:] in ([], [0])  # nothing of it is sent twice
    assert [each["kernel"] for each in events if each["kind"] == "booted"] == ["next"], done.stderr

    bundle = identify("next", Artefact(deb=str(forms.deb)), "x86_64")
    (run,) = iter_runs(execution.path)
    identity = run.document["identity"]
    assert identity["artefact_sha256"] == hashlib.sha256(forms.deb.read_bytes()).hexdigest()
    assert {key: identity[key] for key in ("kernel_release", "kernel_version", "build_id", "config_sha256")} == {
        "kernel_release": forms.release,
        "kernel_version": bundle.identity.version,
        "build_id": bundle.identity.build_id,
        "config_sha256": bundle.identity.config_sha256,
    }
    assert bundle.identity.build_id is not None
    assert (run.document["kernel"], identity["preempt"]) == ("next", "PREEMPT_RT")
    assert [each["reason"].partition(" (")[0] for each in execution.lane("box")["unsupported"]] == [
        "kernel 'lost': 6.99-lost is not installed there"
    ]

    with open_session(load_inventory(tmp_path / "lab.yaml").targets["box"], "tests") as session:
        hands = session.hands
        assert sent_for(hands, bundle) is None  # again: it is there
        tar = identify("next", Artefact(tar=str(forms.tar)), "x86_64")
        image = identify("next", Artefact(image=str(forms.image), modules=str(forms.modules)), "x86_64")
        assert {each.identity.build_id for each in (bundle, tar, image)} == {bundle.identity.build_id}
        assert sent_for(hands, image) == image.size
        assert {each["id"] for each in hands.state()["installed"]} == {bundle.build, image.build}  # side by side
        then = disk(hands.transport)
        assert f"/lib/modules/{forms.release} l 0 777 " in then
        assert f"/var/lib/isolbench/kernels/{image.build}/modules/{forms.release}\n" in then
        own = board_image().kernels["rt"]
        with pytest.raises(EnvironmentFault, match=f"/lib/modules/{own.release} belongs to another build") as caught:
            hands.install(identify("own", Artefact(image=str(own.image)), "x86_64"))
        assert f"{{installed: {own.release}}}" in str(caught.value.advice)
        assert disk(hands.transport) == then

    told = isolbench("restore", "--kernels", "box", "--inventory", tmp_path / "lab.yaml")
    assert told.returncode == 0, told.stderr
    assert told.stdout.count(": removed") == len(told.stdout.splitlines()) > 5
    with logged_in(box) as transport:
        assert disk(transport) == before


def board_image() -> Image:
    found = find_image(recipes.RECIPES["bookworm-x86_64"], Cache())
    assert found is not None
    return found
