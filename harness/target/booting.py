# SPDX-License-Identifier: Apache-2.0
"""Having a target boot a kernel with a boot profile, once: what is installed, armed and awaited; not what is proved.

Before the first boot the target writes down what it boots by itself: from that come the command line to which profiles
add, and who the kernel ``default`` is. Boots of ours are known by a mark on their command line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config.inventory import Target
from ..config.kernels import DEFAULT_KERNEL, PLAIN_BOOT, Artefact, BootProfile, Kernel
from ..config.units import format_cpu_list
from ..deadline import Deadline
from ..errors import BoardDown, EnvironmentFault, InfrastructureFault, TargetUnfit, UserError
from ..lab.power import answers
from ..lab.watch import Watch
from . import power
from .boot import Bootable, Method, method_of
from .cmdline import with_profile
from .hands import Hands
from .kernels import Bundle, identify
from .proof import BootFailed, Expected, NotBack, not_back
from .transport import Pause, Transport, open_transport

#: A machine that has not answered for so long does not come back by itself: firmware, file system checks and the ten
#: seconds of a panic included.
BACK_S = 300.0
#: Between two tries to connect: each is a login, and servers penalise what comes too often.
_TRY_S = 3.0
#: QEMU takes any connection at once, and hands it on when the board is there: first it is looked whether one speaks.
_LOOK_S = 1.0
#: See harness/agent/kernelstate.py.
MARK = "isolbench.boot"
_STEP_S = 60.0
#: One that has just come up has much to do; one that is going down may never answer.
_LOGIN_S = 20.0
#: How often it is told how much of a kernel was uploaded.
_TELLS = 10


@dataclass(frozen=True)
class Wanted:
    """What is to be booted, by name and by meaning. ``hashes``, by architecture, are those its files have to have."""

    kernel: Kernel
    boot: str
    profile: BootProfile
    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_default(self) -> bool:
        return self.kernel.name == DEFAULT_KERNEL and self.boot == PLAIN_BOOT

    def __str__(self) -> str:
        return f"{self.kernel.name} {self.boot}"


def expected_default(default: Mapping[str, Any]) -> Expected:
    return Expected(DEFAULT_KERNEL, default.get("release"), None, None, BootProfile(remove=(MARK,)))


class Booter:
    """Boots ``target``. ``emit`` tells what happens, ``pause`` waits and says whether we are asked to stop.

    ``console`` is called when a boot is ordered; what it gives, when that is wanted which the console has said since,
    if there is one. It is a virtual board's, if nothing else is said.
    ``patience_s`` is how long it is waited for; ``took_s`` how long the last boot took that was waited for to its end;
    ``boot_id`` is that of before. ``hung`` is why the target's power had to be switched for it, if that had to be;
    ``from_ours`` whether a kernel of ours ran when it was ordered; ``left`` whether it was sent away since somebody set
    that to False. ``keep_s`` is how long the lease is to last from then on (None: it is left as it is).
    """

    def __init__(
        self,
        target: Target,
        emit: Callable[..., None],
        pause: Pause,
        console: Callable[[], Callable[[], str | None]] | None = None,
    ) -> None:
        self.patience_s = BACK_S
        self.took_s = 0.0
        self._target = target
        self._emit = emit
        self._pause = pause
        self._console = console or (lambda: _no_console if target.virtual is None else Watch(target.name).text)
        self._said: Callable[[], str | None] = _no_console
        self._ordered_at = 0.0
        self.boot_id = ""
        self.hung: NotBack | None = None
        self.from_ours = False
        self.left = False
        self.keep_s: float | None = None
        self._default_release = ""

    def order(self, wanted: Wanted, hands: Hands) -> Expected:
        """Arm ``wanted`` and send the target into it; what has to run, once it answers again.

        Raises TargetUnfit or UserError where it cannot be booted so at all, and BootFailed where we are asked to stop
        before anything is armed.
        """
        method = self._method()
        artefact = wanted.kernel.artefact(hands.contact.arch)
        if artefact is None:
            raise TargetUnfit(f"kernel {wanted.kernel.name}: nothing for {hands.contact.arch} in the inventory")
        self.from_ours = False
        keep_s = self.keep_s if wanted.is_default else None  # what is armed keeps it: that comes later
        state, entry = hands.look(method.reads, artefact.installed or None, keep_s)
        self.from_ours = state["ours"] is not None
        if state["default"] is None:
            raise TargetUnfit("it runs a kernel of ours, and what it boots by itself is not known: reboot it")
        expected, what = self._arm(hands, method, state, entry, wanted, artefact)
        self._default_release = str(state["default"].get("release"))
        method.here(self._target, what, self._default_release if what is None else what.release)
        self._emit("booting", kernel=wanted.kernel.name, boot=wanted.boot, method=method.name)
        self._said = self._console()
        self.boot_id = str(state.get("boot_id"))
        self._ordered_at = time.monotonic()
        self.left = True
        method.leave(self._target, hands, what, state)
        return expected

    def await_back(self) -> Transport:
        """Until the target answers with another boot id: a connection to it.

        A hung one is switched off and on, once, and so does not find again what the controller put somewhere for it:
        :attr:`hung` says so then. Raises NotBack of one that stays away.
        """
        self.hung = None
        try:
            transport = self._await()
        except NotBack as error:
            if self._pause(0):
                raise
            done = self._by_force(error)
            if done is None:
                raise
            transport = self._await()
            self.hung = NotBack(f"{error}; {done}, and it is back", advice=error.advice)
        self.took_s = time.monotonic() - self._ordered_at
        return transport

    def console_end(self) -> str | None:
        """What the console said since the boot was ordered."""
        return self._said()

    def clean_up(self) -> None:
        """What the controller put somewhere for one boot is removed."""
        self._method().clean_up(self._target)

    # -- parts

    def _by_force(self, error: NotBack) -> str | None:
        """Have a target that stays away boot what it boots by itself; what was done for that, None if nothing can be.

        What the controller serves it has to be gone before: it would boot that again, for ever.
        """
        method = self._method()
        can_cycle = power.can_cycle(self._target)
        try:
            if method.serves:
                method.here(self._target, None, self._default_release)
            if can_cycle:
                power.cycle(self._target)
        except EnvironmentFault as failed:
            raise NotBack(f"{error}; {failed}", advice=error.advice) from None
        if can_cycle:
            self._emit("power-cycled", message=str(error))
            return "its power was switched"
        return "what it was to boot was taken away" if method.serves else None

    def _method(self) -> Method:
        asked = self._target.boot
        assert asked is not None, "a plan with boots asks for a method"
        return method_of(asked.method)

    def _arm(
        self,
        hands: Hands,
        method: Method,
        state: dict[str, Any],
        entry: dict[str, Any],
        wanted: Wanted,
        artefact: Artefact,
    ) -> tuple[Expected, Bootable | None]:
        """What has to run then, and what is booted for it: None for what the target boots by itself.

        ``entry`` is of the kernel if it lies there already, and is not what the target boots by itself.
        """
        default = state["default"]
        if wanted.is_default:
            return expected_default(default), None
        method.check(state)
        bundle: Bundle | None = None
        if artefact.installed == "":
            if default.get("image") is None:
                raise TargetUnfit(
                    f"no image of its own kernel {default.get('release')} in /boot: it cannot be booted so"
                )
            entry = default
        elif artefact.installed is None:
            entry, bundle = self._placed(hands, wanted, artefact)
        self._check_asked()
        identity = None if bundle is None else bundle.identity
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
            dtb=entry.get("dtb"),
            own_trees=_own_trees(bundle),
            build=entry.get("id"),
            bundle=bundle,
        )
        method.check_tree(what)
        hands.steps([*_modules_of(what), *method.arm(what, state)], self.keep_s)
        expected = Expected(
            wanted.kernel.name,
            what.release,
            entry.get("version") if identity is None else identity.version,
            None if identity is None else identity.build_id,
            profile,
            wanted.boot,
            mark,
            None if identity is None else identity.to_json(),
            line=what.cmdline,
        )
        return expected, what

    def _placed(self, hands: Hands, wanted: Wanted, artefact: Artefact) -> tuple[dict[str, Any], Bundle]:
        """Where a kernel of ours lies on the target, installed if need be; what it is here."""
        bundle = identify(
            wanted.kernel.name, artefact, hands.contact.arch,
            unpacking=lambda: self._emit("unpacking", kernel=wanted.kernel.name),
        )  # fmt: skip
        pinned = wanted.hashes.get("") or wanted.hashes.get(hands.contact.arch)
        if pinned not in (None, bundle.identity.sha256):
            raise UserError(
                f"kernel {wanted.kernel.name}: its files changed since this execution began",
                advice="put those back that it began with, or begin another one",
            )
        told = 0

        def sent(done: int, total: int) -> None:
            nonlocal told
            self._check_asked()
            identity = bundle.identity
            if not done:
                self._emit(
                    "installing", kernel=identity.name, release=identity.release, sha256=identity.sha256, bytes=total
                )
            elif done * _TELLS // total > told:
                told = done * _TELLS // total
                self._emit("uploaded", kernel=identity.name, bytes=done, of=total)

        return hands.install(bundle, sent), bundle

    def _check_asked(self) -> None:
        """Up to here nothing was armed: who wants an end has it now."""
        if self._pause(0):
            raise BootFailed("asked to stop before it was booted")

    def _isolated(self) -> str:
        isolated = self._target.isolated
        return "" if isolated == "auto" else format_cpu_list(isolated)

    def _await(self) -> Transport:
        deadline = Deadline.after(self.patience_s)
        said: str | None = None
        virtual = self._target.virtual is not None
        while not deadline.expired:
            if self._pause(min(_LOOK_S if virtual else _TRY_S, deadline.remaining())):
                raise NotBack("asked to stop while it was booting")
            try:
                if virtual and not answers(self._target.name):
                    said = "its SSH server does not answer"
                    continue
                transport = open_transport(self._target, Deadline.after(min(_LOGIN_S, deadline.remaining() + 1)))
                found = _boot_id(transport)
                if found and found != self.boot_id:
                    return transport
                transport.close()
                said = "its boot id is the same: it did not go down"
            except BoardDown as error:
                raise not_back(None, str(error), self.console_end()) from None
            except InfrastructureFault as error:
                said = str(error)
                continue
        raise not_back(self.patience_s, said, self.console_end())


def _own_trees(bundle: Bundle | None) -> bool:
    return bundle is not None and bundle.identity.source == "image" and "dtbs.tar.gz" in bundle.parts


def _modules_of(what: Bootable) -> list[dict[str, Any]]:
    """The step by which a kernel of ours finds its own, where another build of its release may lie there too."""
    return [] if what.build is None else [{"modules": what.build, "release": what.release}]


def _boot_id(transport: Transport) -> str:
    """Closes ``transport`` where it cannot be read."""
    try:
        done = transport.run(["cat", "/proc/sys/kernel/random/boot_id"], deadline=Deadline.after(_LOGIN_S))
    except BaseException:
        transport.close()
        raise
    return done.stdout.decode("ascii", "replace").strip()


def _no_console() -> None:
    """Nobody listens to one."""


def put_back_here(target: Target) -> None:
    """What a controller that was killed put somewhere for one boot of ``target`` is removed: see Method.clean_up."""
    if target.boot is not None:
        method_of(target.boot.method).clean_up(target)


def remove_kernels(hands: Hands) -> list[dict[str, Any]]:
    """Everything of ours on the target's disk, removed; one report an entry, as of an undo.

    Raises TargetUnfit while a kernel of ours runs: its modules are among what would go.
    """
    ours = hands.state()["ours"]
    if ours is not None and not str(ours).startswith("installed/"):
        raise TargetUnfit("a kernel of ours runs there", advice="reboot it: it boots its own then")
    return hands.remove()
