# SPDX-License-Identifier: Apache-2.0
"""What every knob is: one object that shows, sets, verifies and restores one setting of the machine, and explains it.

A knob is best effort: what could not be put into effect is recorded with its errno and never fails a run by itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Sequence

from ..system import Tree, errno_name
from ..undo import Undo, file_entry
from .forms import PLAIN, Form

#: What to do where a file cannot be opened for writing, whatever the knob.
NOT_OURS = {
    "EACCES": "run the agent as root (become: sudo)",
    "EROFS": "a container has the kernel's files read-only: run the agent on the machine itself",
}


@dataclass(frozen=True)
class Outcome:
    """``effective`` is what was read back, in the same form as ``requested``; they are equal when it worked.

    ``needed`` is False where this kernel has nothing to set: then it is no loss either. ``detail`` has the parts of a
    knob of many (the IRQs that stayed).
    """

    name: str
    requested: Any
    before: Any
    effective: Any
    errno: str | None = None
    reason: str | None = None
    needed: bool = True
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.needed or self.effective == self.requested

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def shown(value: Any = None, reason: str | None = None, *, needed: bool = True, advice: str = "") -> dict[str, Any]:
    """What facts say of a knob. ``reason`` is why it is not available; ``needed``: is that a loss?"""
    told = advice if reason is not None and needed else None
    return {"available": reason is None, "value": value, "reason": reason, "needed": needed, "advice": told}


class Knob(Protocol):
    """One setting. ``tree`` is where its files are: tests give an invented one.

    ``roams``: for a task that is not pinned it has to be set for all CPUs where that may run, not for one alone.
    ``helpers``: it has to be set for the CPUs of probes' helpers as well.
    """

    name: str
    roams: bool
    helpers: bool

    def show(self) -> dict[str, Any]:
        """:func:`shown` of what is there now; changes nothing."""

    def set(self, measured: Sequence[int], housekeeping: Sequence[int], undo: Undo) -> Outcome:
        """Write down what is there, then change it and read it back. Never raises for what the machine refuses."""

    def verify(self, outcome: Outcome) -> str | None:
        """What is no longer as :meth:`set` left it, or None."""

    def restore(self) -> None:
        """Undo what lives in this process; the rest is put back by playing the undo."""

    def advise(self, outcome: Outcome) -> str | None:
        """What would put it into effect, or None when it is."""


class Unavailable(Exception):
    """Why a knob has nothing to set here. ``needed``: is that a loss? Not where what it prevents cannot happen."""

    def __init__(self, reason: str, *, needed: bool) -> None:
        super().__init__(reason)
        self.needed = needed


@dataclass(frozen=True)
class Setting:
    """``value`` for the file at ``path``, as ``form`` reads it. ``key`` names it among several of one knob."""

    key: str
    path: str
    value: str
    form: Form = PLAIN


class FilesKnob:
    """A knob that is values in files, worked out for the machine at hand."""

    name = ""
    remedy = ""
    roams = False
    helpers = False
    #: What is asked for in a word, for the record of a machine that has nothing to set.
    wanted: Any = None

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree = tree or Tree()
        self._set: list[Setting] = []

    def state(self) -> Any:
        """What it is now. Raises :class:`Unavailable`."""
        raise NotImplementedError

    def settings(self, measured: Sequence[int], housekeeping: Sequence[int]) -> list[Setting]:
        """What to write where. Raises :class:`Unavailable`."""
        raise NotImplementedError

    def dragged(self, change: Setting) -> list[str]:  # noqa: ARG002 (for those that drag something)
        """Files that the kernel changes along with this one: put back as well, and after it."""
        return []

    def unavailable(self, path: str) -> Unavailable:
        """What it means that this file cannot be read."""
        return Unavailable(f"{path} cannot be read", needed=True)

    def show(self) -> dict[str, Any]:
        try:
            return shown(self.state())
        except Unavailable as why:
            return shown(reason=str(why), needed=why.needed, advice=self.remedy)

    def set(self, measured: Sequence[int], housekeeping: Sequence[int], undo: Undo) -> Outcome:
        self._set = []
        try:
            settings = self.settings(measured, housekeeping)
            found = {each.path: self._text(each.path) for each in settings}
        except Unavailable as why:
            return Outcome(self.name, self.wanted, None, None, None, str(why), why.needed)
        requested = _told([(each, each.value) for each in settings])
        before = _told([(each, each.form.parse(found[each.path])) for each in settings])
        # What is so already is left alone: the kernel may act on a write that changes nothing.
        changes = [each for each in settings if each.form.parse(found[each.path]) != each.value]
        try:
            undo.record([entry for change in changes for entry in self._entries(change, found[change.path])])
        except OSError as error:
            code = errno_name(error.errno or 0)
            return Outcome(self.name, requested, before, before, code, "undo cannot be written")
        refused = [(each.path, self.tree.write(each.path, each.form.spell(each.value))) for each in changes]
        self._set = settings
        now = [(each, self._now(each)) for each in settings]
        path, number = next(((path, number) for path, number in refused if number), ("", 0))
        reason = f"{path} cannot be written" if number else None
        for each, value in now:
            if value != each.value and reason is None:
                reason = f"{each.path} reads {value!r} after it was written"
        return Outcome(self.name, requested, before, _told(now), errno_name(number) if number else None, reason)

    def _entries(self, change: Setting, text: str) -> list[dict[str, Any]]:
        """For the undo, which is played from its end."""
        dragged = [(path, self.tree.read(path)) for path in self.dragged(change)]
        return [
            *(file_entry(self.name, path, there) for path, there in dragged if there is not None),
            file_entry(self.name, change.path, text, write=change.form.back(text)),
        ]

    def _text(self, path: str) -> str:
        text = self.tree.read(path)
        if text is None:
            raise self.unavailable(path)
        return text

    def _now(self, setting: Setting) -> str | None:
        text = self.tree.read(setting.path)
        return None if text is None else setting.form.parse(text)

    def verify(self, outcome: Outcome) -> str | None:  # noqa: ARG002 (the protocol's)
        for each in self._set:
            now = self._now(each)
            if now != each.value:
                return f"{each.path} was changed to {now!r} meanwhile"
        return None

    def restore(self) -> None:
        self._set = []

    def advise(self, outcome: Outcome) -> str | None:
        if outcome.ok:
            return None
        return NOT_OURS.get(outcome.errno or "", self.remedy)


def _told(values: Sequence[tuple[Setting, Any]]) -> Any:
    """The values by key; of one without a key, the value itself."""
    if len(values) == 1 and not values[0][0].key:
        return values[0][1]
    return {setting.key: value for setting, value in values}


class FileKnob(FilesKnob):
    """A knob that is one value in one file, the same on every machine."""

    path = ""
    value = ""
    form: Form = PLAIN

    def __init__(self, tree: Tree | None = None) -> None:
        super().__init__(tree)
        self.wanted = self.value

    def state(self) -> Any:
        return self.form.parse(self._text(self.path))

    def settings(
        self,
        measured: Sequence[int],  # noqa: ARG002 (the protocol's)
        housekeeping: Sequence[int],  # noqa: ARG002 (the protocol's)
    ) -> list[Setting]:
        return [Setting("", self.path, self.value, self.form)]
