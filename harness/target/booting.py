# SPDX-License-Identifier: Apache-2.0
"""Having a target boot a kernel with a boot profile, once: what is installed, armed and awaited; not what is proved.

Before the first boot the target writes down what it boots by itself: from that come the command line to which profiles
add, and who the kernel ``default`` is. Boots of ours are known by a mark on their command line.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.inventory import Target
from ..config.kernels import DEFAULT_KERNEL, PLAIN_BOOT, BootProfile, Kernel
from ..config.units import format_cpu_list
from ..deadline import Deadline
from ..errors import InfrastructureFault, TargetUnfit
from . import power
from .boot import Bootable, Method, method_of, reboot
from .boot.netboot import FILES as NETBOOT_FILES
from .cmdline import with_profile
from .contact import contact
from .deploy import deploy_agent
from .hands import Hands
from .kernels import KernelIdentity, identify
from .proof import Expected, NotBack, not_back
from .transport import Pause, open_transport

#: A machine that has not answered for so long does not come back by itself: firmware, file system checks and the ten
#: seconds of a panic included.
BACK_S = 300.0
#: Between two tries to connect: each is a login, and servers penalise what comes too often.
_TRY_S = 3.0
#: See harness/agent/kernels.py.
MARK = "isolbench.boot"
_STEP_S = 60.0


@dataclass(frozen=True)
class Wanted:
    """What is to be booted, by name and by meaning."""

    kernel: Kernel
    boot: str
    profile: BootProfile

    @property
    def is_default(self) -> bool:
        return self.kernel.name == DEFAULT_KERNEL and self.boot == PLAIN_BOOT

    def __str__(self) -> str:
        return f"{self.kernel.name} {self.boot}"


def expected_default(default: Mapping[str, Any]) -> Expected:
    return Expected(DEFAULT_KERNEL, default.get("release"), None, None, BootProfile(remove=(MARK,)))


class Booter:
    """Boots ``target``. ``emit`` tells what happens, ``pause`` waits and says whether we are asked to stop.

    ``console`` gives the console's text so far, where there is one.
    """

    def __init__(
        self,
        target: Target,
        emit: Callable[..., None],
        pause: Pause,
        console: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._target = target
        self._emit = emit
        self._pause = pause
        self._console = console
        self._seen = 0

    def boot(self, wanted: Wanted) -> Expected:
        """Arm ``wanted`` and send the target into it; returns, once it answers again, what has to run then.

        Raises NotBack where it does not, even after its power was switched; TargetUnfit or UserError where it cannot
        be booted so at all.
        """
        with self._hands() as hands:
            method = self._method()
            state = hands.state(method.reads)
            if state["ours"] is None:
                default = hands.default()
            elif (default := state["default"]) is None:
                raise TargetUnfit("it runs a kernel of ours, and what it boots by itself is not known: reboot it")
            expected, command = self._arm(hands, method, state, default, wanted)
            self._emit("booting", kernel=wanted.kernel.name, boot=wanted.boot, method=method.name)
            self._seen = len(self._console() or "")
            boot_id = str(state.get("boot_id"))
            hands.leave(command)
        self.await_back(boot_id)
        return expected

    def await_back(self, boot_id: str) -> None:
        """Until the target answers with another boot id. A hung one is switched off and on, once, where that can be."""
        try:
            self._await(boot_id, BACK_S)
        except NotBack as error:
            if not power.can_cycle(self._target):
                raise
            self._emit("power-cycled", message=str(error))
            power.cycle(self._target)
            self._await(boot_id, BACK_S)
            raise NotBack(f"{error}; its power was switched, and it is back", advice=error.advice) from None

    def console_end(self) -> str | None:
        """What the console said since the boot was ordered."""
        text = self._console()
        return None if text is None else text[self._seen :]

    def clean_up(self) -> None:
        """Files of a network boot, which are there for one boot, are removed."""
        method = self._target.boot
        if method is not None and method.folder is not None:
            for name in NETBOOT_FILES:
                with suppress(FileNotFoundError):
                    (Path(method.folder) / name).unlink()

    # -- parts

    def _method(self) -> Method:
        asked = self._target.boot
        assert asked is not None, "a plan with boots asks for a method"
        found = method_of(asked.method)
        if found is None:
            raise TargetUnfit(f"boot: {asked.method}: only of virtual boards")
        return found

    def _hands(self) -> _Open:
        return _Open(self._target, self._pause)

    def _arm(
        self, hands: Hands, method: Method, state: dict[str, Any], default: dict[str, Any], wanted: Wanted
    ) -> tuple[Expected, list[str]]:
        if wanted.is_default:
            self._here(None, default, wanted)
            return expected_default(default), reboot(state)
        method.check(state)
        entry, identity = self._placed(hands, default, wanted)
        profile = wanted.profile.for_cpus(self._isolated())
        mark = f"{MARK}={entry.get('id') or 'installed'}/{wanted.boot}"
        marked = BootProfile(add=(*profile.add, mark), remove=profile.remove)
        what = Bootable(
            kernel=wanted.kernel.name,
            boot=wanted.boot,
            release=str(entry["release"]),
            image=str(entry["image"]),
            initrd=entry.get("initrd"),
            cmdline=with_profile(str(default["cmdline"]), marked),
            dtbs=entry.get("dtbs"),
            build=entry.get("id"),
        )
        hands.steps(method.arm(what, state))
        self._here(what, default, wanted)
        return (
            Expected(
                wanted.kernel.name,
                what.release,
                entry.get("version") if identity is None else identity.version,
                None if identity is None else identity.build_id,
                profile,
                wanted.boot,
                mark,
            ),
            method.go(state),
        )

    def _placed(
        self, hands: Hands, default: dict[str, Any], wanted: Wanted
    ) -> tuple[dict[str, Any], KernelIdentity | None]:
        """Where the kernel lies on the target, installed if need be; who it is, where it is one of ours."""
        artefact = wanted.kernel.artefact(hands.contact.arch)
        if artefact is None:
            raise TargetUnfit(f"kernel {wanted.kernel.name}: nothing for {hands.contact.arch} in the inventory")
        if artefact.installed == "":
            if default.get("image") is None:
                raise TargetUnfit(
                    f"no image of its own kernel {default.get('release')} in /boot: it cannot be booted so"
                )
            return default, None
        if artefact.installed is not None:
            return hands.release(artefact.installed), None
        bundle = identify(wanted.kernel.name, artefact, hands.contact.arch)
        self._emit(
            "installing", kernel=wanted.kernel.name, release=bundle.identity.release, sha256=bundle.identity.sha256
        )
        return hands.install(bundle), bundle.identity

    def _isolated(self) -> str:
        isolated = self._target.isolated
        return "" if isolated == "auto" else format_cpu_list(isolated)

    def _here(self, what: Bootable | None, default: Mapping[str, Any], wanted: Wanted) -> None:
        """What a method has the controller do: the site's command, or files for a network boot."""
        asked = self._target.boot
        assert asked is not None
        if asked.method == "command":
            values = {
                "name": self._target.name,
                "address": self._target.address or "",
                "kernel": wanted.kernel.name,
                "boot": wanted.boot,
                "release": str(default.get("release")) if what is None else what.release,
                "image": "" if what is None else what.image,
                "initrd": "" if what is None else what.initrd or "",
                "cmdline": "" if what is None else what.cmdline,
            }
            power.run(asked.argv, values, "boot: command")
        elif asked.folder is not None:
            self._serve(Path(asked.folder), what, wanted)

    def _serve(self, folder: Path, what: Bootable | None, wanted: Wanted) -> None:
        self.clean_up()
        if what is None:
            return
        artefact = next(iter(wanted.kernel.artefacts.values()))
        if artefact.installed is not None:
            raise TargetUnfit(f"boot: netboot takes kernels from files here: {wanted.kernel.name} lies on the target")
        bundle = identify(wanted.kernel.name, artefact, self._target.arch or "x86_64")
        folder.mkdir(parents=True, exist_ok=True)
        for part, name in (("image", "kernel"), ("initrd", "initrd")):
            path = bundle.part(part)
            if path is not None:
                shutil.copyfile(path, folder / name)
        (folder / "cmdline").write_text(what.cmdline + "\n")

    def _await(self, boot_id: str, seconds: float) -> None:
        deadline = Deadline.after(seconds)
        said: str | None = None
        while not deadline.expired:
            if self._pause(min(_TRY_S, deadline.remaining())):
                raise NotBack("asked to stop while it was booting")
            try:
                transport = open_transport(self._target, Deadline.after(min(20.0, deadline.remaining() + 1)))
                try:
                    done = transport.run(
                        ["cat", "/proc/sys/kernel/random/boot_id"],
                        deadline=Deadline.after(min(20.0, deadline.remaining() + 1)),
                    )
                finally:
                    transport.close()
            except InfrastructureFault as error:
                said = str(error)
                continue
            found = done.stdout.decode("ascii", "replace").strip()
            if found and found != boot_id:
                return
            said = "its boot id is the same: it did not go down"
        raise not_back(seconds, said, self.console_end())


class _Open:
    """A connection and the agent's zip on the other side, for a few requests."""

    def __init__(self, target: Target, pause: Pause) -> None:
        self._target, self._pause = target, pause

    def __enter__(self) -> Hands:
        self._transport = open_transport(self._target, pause=self._pause)
        try:
            found = contact(self._transport, self._target, Deadline.after(_STEP_S))
            return Hands(self._transport, found, deploy_agent(self._transport, found, Deadline.after(_STEP_S)))
        except BaseException:
            self._transport.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._transport.close()


def remove_kernels(target: Target) -> list[dict[str, Any]]:
    """Everything of ours on ``target``'s disk, removed; one report an entry, as of an undo.

    Raises TargetUnfit while a kernel of ours runs: its modules are among what would go.
    """
    with _Open(target, time.sleep) as hands:
        ours = hands.state()["ours"]
        if ours is not None and not str(ours).startswith("installed/"):
            raise TargetUnfit("a kernel of ours runs there", advice="reboot it: it boots its own then")
        return hands.remove()
