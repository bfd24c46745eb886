# SPDX-License-Identifier: Apache-2.0
"""Real kernels booted by the methods that a virtual board can do: proved, and what comes of boots that fail.

One board for all; each test leaves it answering, with whatever runs then.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.advice.attribution import forecast
from harness.campaign import execution as executions
from harness.campaign.carry_out import carry_out
from harness.campaign.events import Event
from harness.campaign.execution import Execution
from harness.campaign.outcome import Outcome
from harness.config.campaign import load_campaign
from harness.config.inventory import Inventory, load_inventory
from harness.config.targets import Target, Virtual
from harness.deadline import Deadline
from harness.errors import InfrastructureFault
from harness.lab import boards, way
from harness.lab.images import Image
from harness.plan import build_plan
from harness.target.boot import Bootable, grub
from harness.target.booting import Booter, Wanted
from harness.target.client import AgentClient
from harness.target.proof import NotBack, OldKernel, Proof, WrongParameters, prove
from harness.target.session import open_session

from .conftest import PATIENCE_S, Board, Boxes

pytestmark = pytest.mark.timeout(900)  # several emulated boots each

LAB = """\
targets:
  box: {{virtual: {{arch: x86_64}}, isolated: 1, boot: {method}, boot_timeout: {patience:.0f}s}}
kernels:
  rt: {{installed: {rt}}}
boots:
  quiet: {{add: "isolcpus=managed_irq,domain,{{isolated}} nohz_full={{isolated}} rcu_nocbs={{isolated}}"}}
  # no first program: it panics, and the default comes a second later
  dies: {{add: "rdinit=/none root=/dev/none panic=1"}}
  # a first program that does not end
  hangs: {{add: "rdinit=/bin/busybox sleep 9999999"}}
  # no driver of its network
  mute: {{add: "module_blacklist=virtio_net"}}
  # a CPU that it has not
  far: {{add: "isolcpus=domain,7"}}
"""
ARM = """\
targets: {arm: {virtual: {arch: aarch64}, isolated: 1}}
boots: {quiet: {add: "isolcpus=managed_irq,domain,{isolated} nohz_full={isolated} rcu_nocbs={isolated}"}}
"""
CAMPAIGN: dict[str, Any] = {
    "campaign": "trial", "targets": ["box"], "benches": ["gap"], "duration": "500ms", "settle": "0s",
    "attribution": "perf",
    "retry": {"infrastructure": 0, "invalid": 0},
}  # fmt: skip


@dataclass
class Trial:
    """The board. ``patience``: how long it may take to boot, some times as long as it took to come up."""

    folder: Path
    rt: str
    stock: str
    patience: float

    def inventory(self, method: str) -> Inventory:
        path = self.folder / "lab.yaml"
        path.write_text(LAB.format(method=method, patience=self.patience, rt=self.rt))
        return load_inventory(path)

    def boot(self, method: str, kernel: str, boot: str) -> Proof:
        """What runs after a boot, proved. Raises what ``prove`` does, and NotBack where its power was switched."""
        inventory = self.inventory(method)
        target = inventory.targets["box"]
        booter = Booter(target, lambda kind, **fields: print(kind, fields), time.sleep)
        assert target.boot_timeout is not None
        booter.patience_s = target.boot_timeout
        with open_session(target, "me") as session:
            expected = booter.order(Wanted(inventory.kernels[kernel], boot, inventory.boots[boot]), session.hands)
        with open_session(target, "me", transport=booter.await_back()) as session:
            if booter.hung is not None:
                raise booter.hung
            return prove(expected, booter.boot_id, session.welcome["facts"])

    def campaign(self, method: str, boots: list[str]) -> tuple[Execution, Outcome, list[Event]]:
        inventory = self.inventory(method)
        path = self.folder / "c.yaml"
        path.write_text(json.dumps({**CAMPAIGN, "axes": {"kernel": ["rt"], "boot": boots, "mode": ["pinned"]}}))
        execution = executions.create(
            build_plan(load_campaign(path), inventory), self.folder / "results", self.folder / "lab.yaml"
        )
        events: list[Event] = []
        return execution, carry_out(execution, inventory, listeners=[events.append]), events


def let_go(client: AgentClient) -> None:
    """The lease of a lane that failed, or was interrupted, is nobody's any more."""
    client.release(client.acquire(60, Deadline.after(PATIENCE_S)), Deadline.after(PATIENCE_S))


def explained(execution: Execution, target: str) -> dict[str, Any]:
    """The one run of ``target``: its events were seen, as its facts had said beforehand, and none is missing."""
    (run,) = (execution.path / "runs" / target).iterdir()
    document: dict[str, Any] = json.loads((run / "run.json").read_text())
    (result,) = document["results"]
    told = result["attribution"]
    assert (told["level"], told["conservation"]["holds"], told["ring"]["lost"]) == ("tracepoints", True, 0), told
    assert forecast(execution.lane(target)["facts"]).level == told["level"]
    return document


@pytest.fixture(scope="module")
def trial(image: Callable[[str], Image], boxes: Boxes, box: Board, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    kernels = image("bookworm-x86_64").kernels
    patience = max(75.0, 5 * boxes.took_s)
    return Trial(tmp_path_factory.mktemp("trial"), kernels["rt"].release, kernels["stock"].release, patience)


def test_kexec_from_stock_to_rt(trial: Trial) -> None:
    proof = trial.boot("kexec", "rt", "quiet")
    assert proof.release == trial.rt
    assert "PREEMPT_RT" in proof.version
    assert proof.isolated == proof.nohz_full == (1,)
    assert {"isolcpus=managed_irq,domain,1", "nohz_full=1", "rcu_nocbs=1", "panic=10"} <= set(proof.cmdline.split())


def test_grub_boots_once_and_then_as_before(trial: Trial) -> None:
    proof = trial.boot("grub-once", "default", "quiet")
    assert proof.release == trial.stock
    assert proof.isolated == proof.nohz_full == (1,)
    assert {"nohz_full=1", "isolbench.boot=installed/quiet"} <= set(proof.cmdline.split())
    again = trial.boot("grub-once", "default", "plain")
    assert (again.release, again.isolated, again.nohz_full) == (trial.stock, (), ())
    assert "isolbench.boot" not in again.cmdline
    assert again.boot_id != proof.boot_id


@pytest.mark.dear
def test_what_panics_after_grub_leads_home(trial: Trial) -> None:
    with pytest.raises(
        OldKernel, match=f"the kernel {trial.stock} as it boots by itself, and not with isolbench.boot="
    ):
        trial.boot("grub-once", "default", "dies")


@pytest.mark.dear
def test_what_grub_cannot_load_leads_home_and_what_was_armed_is_taken_back(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = grub.entry
    monkeypatch.setattr(grub, "entry", lambda text, what: made(text, replace(what, image="/boot/none")))
    with pytest.raises(OldKernel, match=f"the kernel {trial.stock} as it boots by itself"):
        trial.boot("grub-once", "default", "quiet")
    target = trial.inventory("grub-once").targets["box"]
    with open_session(target, "me") as session:
        hands = session.hands
        state, entry = hands.look(grub.METHOD.reads, trial.stock)
        what = Bootable("stock", "loud", trial.stock, entry["image"], entry["initrd"], "loglevel=8")
        hands.steps(grub.METHOD.arm(what, state))
        assert b"\nnext_entry=isolbench-once\n" in hands.read("/boot/grub/grubenv")
        assert [(each["kind"], each["ok"]) for each in hands.remove()] == [("armed", True), ("block", True)]
        assert b"next_entry" not in hands.read("/boot/grub/grubenv")


def test_a_campaign_goes_on_with_a_kernel_that_panics_and_one_that_hangs(trial: Trial, arm: Future[Execution]) -> None:
    port = way.up_now("box").port
    execution, outcome, events = trial.campaign("qemu", ["quiet", "dies", "hangs"])
    assert (outcome.planned, outcome.finished, outcome.lanes[0].failed) == (3, 1, 2)
    assert outcome.lanes[0].failure is None
    reasons = {}
    for path in (execution.path / "attempts/box").glob("*/attempt.json"):
        document = json.loads(path.read_text())
        assert document["fault"] == "infrastructure"
        reasons[document["reason"].partition(":")[0]] = document["reason"]
        assert "Linux version" in (path.parent / "log.txt").read_text()
    assert set(reasons) == {"boot of rt dies", "boot of rt hangs"}
    came_back = f"came back with the kernel {trial.stock} instead of {trial.rt} (rt); its console said: ["
    assert came_back in reasons["boot of rt dies"]
    assert "Kernel panic - not syncing: " in reasons["boot of rt dies"]
    assert "did not come back within" in reasons["boot of rt hangs"]
    assert "Run /bin/busybox as init process" in reasons["boot of rt hangs"]
    assert reasons["boot of rt hangs"].endswith("; its power was switched, and it is back")
    assert [event["kind"] for event in events].count("power-cycled") == 1
    identity = explained(execution, "box")["identity"]
    assert identity["kernel_release"] == trial.rt
    assert "nohz_full=1" in identity["cmdline"].split()
    # At the end its own kernel runs: the last of the three boots failed, or it was sent back, and that was proved.
    kinds = [event["kind"] for event in events]
    boots = [kind for kind in kinds if kind in ("booted", "boot-failed", "booted-back", "left-booted")]
    assert sorted(boots[:3]) == ["boot-failed", "boot-failed", "booted"]
    assert boots[3:] == (["booted-back"] if boots[2] == "booted" else [])
    with open_session(trial.inventory("qemu").targets["box"], "me") as session:
        kernel = session.welcome["facts"]["kernel"]
        let_go(session.client)
    assert kernel["release"] == trial.stock
    assert "isolbench.boot" not in kernel["cmdline"]
    assert (way.up_now("box").once, way.up_now("box").port) == (False, port)


class Command:
    """``isolbench WORDS`` on the campaign ``stopped``, and the events that it adds."""

    def __init__(self, trial: Trial, *words: object) -> None:
        self._folder = trial.folder / "results/stopped"
        self._seen = len(self._events())
        call = [sys.executable, "-m", "harness", *map(str, words), "--results", str(trial.folder / "results")]
        self.process = subprocess.Popen(call, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def _events(self) -> list[dict[str, Any]]:
        texts = [path.read_text() for path in self._folder.glob("*/events.jsonl")]
        return [json.loads(line) for text in texts for line in text.split("\n")[:-1]]

    def kinds(self) -> list[str]:
        return [str(each["kind"]) for each in self._events()[self._seen :]]

    def interrupt_at(self, kind: str) -> None:
        while kind not in self.kinds():
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        _, said = self.process.communicate()
        return self.process.returncode, said


@pytest.mark.dear
def test_an_interrupted_command_boots_the_board_back_and_a_second_signal_does_not_claim_it(trial: Trial) -> None:
    target = trial.inventory("kexec").targets["box"]
    campaign = {**CAMPAIGN, "campaign": "stopped", "duration": "20s", "axes": {"kernel": ["rt"], "mode": ["pinned"]}}
    (trial.folder / "stopped.yaml").write_text(json.dumps(campaign))
    files = ("-i", trial.folder / "lab.yaml")
    before = boot_id(target)
    began = Command(trial, "run", trial.folder / "stopped.yaml", *files)
    began.interrupt_at("booting")
    began.interrupt_at("going-back")
    code, said = began.end()
    assert code == 130
    assert "isolbench: interrupted by signal 2" in said
    assert "they may run what was booted for it: resume boots them back at its end" in said
    assert "were put back" not in said
    arrived = Deadline.after(4 * trial.patience)  # a real-time kernel, emulated, and an agent that starts on it
    while (found := boot_id(target)) in (None, before):
        arrived.check("the board with the kernel that it was sent into")

    resumed = Command(trial, "resume", "stopped", *files)
    resumed.interrupt_at("run-started")
    code, said = resumed.end()
    assert code == 130, said
    assert "trial: interrupted: it is sent back to what it boots by itself" in said
    assert "interrupted: 0 of 1 runs finished; targets were put back; resume continues" in said
    assert resumed.kinds().count("booted-back") == 1
    with open_session(target, "me") as session:
        facts = session.welcome["facts"]
        let_go(session.client)
    assert facts["boot_id"] not in (before, found)
    assert facts["kernel"]["release"] == trial.stock
    assert "isolbench.boot" not in facts["kernel"]["cmdline"]


def boot_id(target: Target) -> str | None:
    try:
        with open_session(target, "me") as session:
            return str(session.welcome["facts"]["boot_id"])
    except InfrastructureFault:
        return None


@pytest.mark.dear
def test_parameters_that_the_kernel_does_not_take_are_told(trial: Trial) -> None:
    with pytest.raises(WrongParameters, match="has isolated nothing where 7 was asked for"):
        trial.boot("qemu", "default", "far")


@pytest.mark.dear
def test_one_whose_network_never_comes_up_is_switched_off_and_on(trial: Trial) -> None:
    with pytest.raises(NotBack, match=r"; its power was switched, and it is back$") as caught:
        trial.boot("qemu", "rt", "mute")
    assert f"lab: up: {trial.rt}" in str(caught.value)


@pytest.fixture(scope="module")
def arm(
    image: Callable[[str], Image], state: Path, one_at_a_time: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Future[Execution]]:
    """A campaign with boots of an arm64 board, from up to down. Carried out beside the other board's: that one waits
    most of the time, for a kernel that hangs."""
    image("bookworm-aarch64")
    folder = tmp_path_factory.mktemp("arm")
    (folder / "lab.yaml").write_text(ARM)
    axes = {"boot": ["quiet"], "mode": ["pinned"]}
    (folder / "c.yaml").write_text(json.dumps({**CAMPAIGN, "targets": ["arm"], "axes": axes}))

    def carried_out() -> Execution:
        boards.up("arm", Virtual(arch="aarch64"), print)
        try:
            words = ["run", folder / "c.yaml", "--inventory", folder / "lab.yaml", "--results", folder / "results"]
            call = [sys.executable, "-m", "harness", *map(str, words)]
            done = subprocess.run(call, capture_output=True, text=True, check=False)
        finally:
            boards.down("arm")
        assert done.returncode == 0, done.stderr
        return executions.load(next((folder / "results/trial").glob("2*")))

    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(carried_out)


def test_arm64_is_booted_isolated_measured_and_sent_back(image: Callable[[str], Image], arm: Future[Execution]) -> None:
    stock = image("bookworm-aarch64").kernels["stock"].release
    execution = arm.result()
    events = [json.loads(line) for line in (execution.path / "events.jsonl").read_text().splitlines()]
    proofs = {event["kind"]: event["proof"] for event in events if event["kind"] in ("booted", "booted-back")}
    assert [proof["release"] for proof in proofs.values()] == [stock, stock]
    assert proofs["booted"]["isolated"] == proofs["booted"]["nohz_full"] == [1]
    assert proofs["booted-back"]["isolated"] == proofs["booted-back"]["nohz_full"] == []
    assert proofs["booted"]["boot_id"] != proofs["booted-back"]["boot_id"]
    identity = explained(execution, "arm")["identity"]
    assert (identity["arch"], identity["kernel_release"]) == ("aarch64", stock)
