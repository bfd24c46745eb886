# SPDX-License-Identifier: Apache-2.0
"""Real kernels booted by the methods that a virtual board can do: proved, and what comes of boots that fail.

One board for all; each test leaves it answering, with whatever runs then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.campaign import execution as executions
from harness.campaign.carry_out import carry_out
from harness.campaign.events import Event
from harness.campaign.execution import Execution
from harness.campaign.outcome import Outcome
from harness.config.campaign import load_campaign
from harness.config.inventory import Inventory, load_inventory
from harness.config.targets import Virtual
from harness.deadline import Deadline
from harness.lab import boards, way
from harness.lab.images import Image
from harness.plan import build_plan
from harness.target.booting import Booter, Wanted
from harness.target.proof import NotBack, OldKernel, Proof, WrongParameters, prove
from harness.target.session import open_session

pytestmark = pytest.mark.timeout(900)  # several emulated boots each

LAB = """\
targets:
  trial: {{virtual: {{arch: x86_64}}, isolated: 1, boot: {method}, boot_timeout: {patience:.0f}s}}
kernels:
  rt: {{installed: {rt}}}
boots:
  quiet: {{add: "isolcpus=managed_irq,domain,{{isolated}} nohz_full={{isolated}} rcu_nocbs={{isolated}}"}}
  loud: {{add: "loglevel=8"}}
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
    "campaign": "trial", "targets": ["trial"], "benches": ["gap"], "duration": "500ms", "settle": "0s",
    "retry": {"infrastructure": 0, "invalid": 0},
}  # fmt: skip


@dataclass
class Trial:
    """A board that is up, and how long it may take to boot: some times as long as it took to come up."""

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
        target = inventory.targets["trial"]
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


@pytest.fixture(scope="module")
def trial(
    image: Callable[[str], Image], state: Path, one_at_a_time: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trial]:
    kernels = image("bookworm-x86_64").kernels
    began = time.monotonic()
    boards.up("trial", Virtual(arch="x86_64"), print)
    patience = max(60.0, 3 * (time.monotonic() - began))
    yield Trial(tmp_path_factory.mktemp("trial"), kernels["rt"].release, kernels["stock"].release, patience)
    boards.down("trial")


def test_kexec_to_parameters_that_the_kernel_does_not_take_and_from_stock_to_rt(trial: Trial) -> None:
    with pytest.raises(WrongParameters, match="has isolated nothing where 7 was asked for"):
        trial.boot("kexec", "default", "far")
    proof = trial.boot("kexec", "rt", "quiet")
    assert proof.release == trial.rt
    assert "PREEMPT_RT" in proof.version
    assert proof.isolated == proof.nohz_full == (1,)
    assert {"isolcpus=managed_irq,domain,1", "nohz_full=1", "rcu_nocbs=1", "panic=10"} <= set(proof.cmdline.split())


def test_grub_boots_once_and_then_as_before(trial: Trial) -> None:
    proof = trial.boot("grub-once", "default", "loud")
    assert proof.release == trial.stock
    assert {"loglevel=8", "isolbench.boot=installed/loud"} <= set(proof.cmdline.split())
    with pytest.raises(OldKernel, match=f"came back as it boots by itself, {trial.stock} with nothing of the boot"):
        trial.boot("grub-once", "default", "dies")


def test_a_campaign_goes_on_with_a_kernel_that_panics_and_one_that_hangs(trial: Trial) -> None:
    port = way.up_now("trial").port
    execution, outcome, events = trial.campaign("qemu", ["quiet", "dies", "hangs"])
    assert (outcome.planned, outcome.finished, outcome.lanes[0].failed) == (3, 1, 2)
    assert outcome.lanes[0].failure is None
    reasons = {}
    for path in (execution.path / "attempts/trial").glob("*/attempt.json"):
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
    (run,) = (execution.path / "runs/trial").iterdir()
    identity = json.loads((run / "run.json").read_text())["identity"]
    assert identity["kernel_release"] == trial.rt
    assert "nohz_full=1" in identity["cmdline"].split()
    # At the end its own kernel runs: the last of the three boots failed, or it was sent back, and that was proved.
    kinds = [event["kind"] for event in events]
    boots = [kind for kind in kinds if kind in ("booted", "boot-failed", "booted-back", "left-booted")]
    assert sorted(boots[:3]) == ["boot-failed", "boot-failed", "booted"]
    assert boots[3:] == (["booted-back"] if boots[2] == "booted" else [])
    with open_session(trial.inventory("qemu").targets["trial"], "me") as session:
        kernel = session.welcome["facts"]["kernel"]
        assert session.client.acquire(60, Deadline.after(30))  # nobody's any more
    assert kernel["release"] == trial.stock
    assert "isolbench.boot" not in kernel["cmdline"]
    assert (way.up_now("trial").once, way.up_now("trial").port) == (False, port)


def test_one_whose_network_never_comes_up_is_switched_off_and_on(trial: Trial) -> None:
    with pytest.raises(NotBack, match=r"; its power was switched, and it is back$") as caught:
        trial.boot("qemu", "rt", "mute")
    assert f"lab: up: {trial.rt}" in str(caught.value)


def test_arm64_is_booted_isolated_measured_and_sent_back(
    image: Callable[[str], Image], state: Path, one_at_a_time: None, tmp_path: Path
) -> None:
    stock = image("bookworm-aarch64").kernels["stock"].release
    (tmp_path / "lab.yaml").write_text(ARM)
    (tmp_path / "c.yaml").write_text(
        json.dumps({**CAMPAIGN, "targets": ["arm"], "axes": {"boot": ["quiet"], "mode": ["pinned"]}})
    )
    inventory = load_inventory(tmp_path / "lab.yaml")
    plan = build_plan(load_campaign(tmp_path / "c.yaml"), inventory)
    execution = executions.create(plan, tmp_path / "results", tmp_path / "lab.yaml")
    boards.up("arm", Virtual(arch="aarch64"), print)
    events: list[Event] = []
    try:
        outcome = carry_out(execution, inventory, listeners=[events.append])
    finally:
        boards.down("arm")
    assert (outcome.finished, outcome.lanes[0].failure) == (1, None)
    proofs = {event["kind"]: event["proof"] for event in events if event["kind"] in ("booted", "booted-back")}
    assert [proof["release"] for proof in proofs.values()] == [stock, stock]
    assert proofs["booted"]["isolated"] == proofs["booted"]["nohz_full"] == [1]
    assert proofs["booted-back"]["isolated"] == proofs["booted-back"]["nohz_full"] == []
    assert proofs["booted"]["boot_id"] != proofs["booted-back"]["boot_id"]
    (run,) = (execution.path / "runs/arm").iterdir()
    document = json.loads((run / "run.json").read_text())
    assert (document["identity"]["arch"], document["identity"]["kernel_release"]) == ("aarch64", stock)
