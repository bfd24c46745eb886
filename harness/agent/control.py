# SPDX-License-Identifier: Apache-2.0
"""The A/A control of a run: the same loop at the same time, on a housekeeping CPU.

It tells what the isolated CPU is spared from what the whole machine suffers. Whatever goes wrong with it is its own:
the measurement is kept, and the control is *unavailable*, with the reason.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Callable, Mapping, Sequence

from .modes import Mode
from .probe import ProbeProcess, command, one_line, paperwork, result_files, spooled_name
from .spec import RunSpec, to_json
from .system import AgentError
from .validity import CONTROL_CHECKS, Evidence, judge
from .validity.task import together

#: Pinned, or its figures would be of no CPU; of the ordinary policy, as what keeps house is.
MODE = Mode("control", where="pinned", sched="other")
#: It was told to end when the measured ones do. Its CPU may be busy, though: it gets this much longer.
GRACE_S = 2.0


class Control:
    """The control of ``spec``, which asks for one. ``binary`` gives the path of a probe, or raises AgentError."""

    def __init__(self, spec: RunSpec, binary: Callable[[str], str], folder: str, affinity: Sequence[int]) -> None:
        assert spec.control is not None
        self.cpu = spec.control.cpu
        self.out = os.path.join(folder, "out-control")
        self.process: ProbeProcess | None = None
        self._folder = folder
        self._affinity = paperwork(spec, affinity)
        self._spec = replace(
            spec,
            probe=spec.control.probe,
            mode=MODE.to_spec(),
            cpus=[self.cpu],
            housekeeping=[],
            helpers=[],
            load_cpus=[],
            control=None,
            attribution="off",  # its events would be instruments beside the measured ones
        )
        self._trouble: AgentError | None = None
        self._binary = ""
        try:
            self._binary = binary(spec.control.probe.sha256)
        except AgentError as error:
            self._trouble = error

    def start(self) -> None:
        """It begins together with the measured ones."""
        if self._trouble is not None:
            return
        argv = command(self._binary, self._spec, MODE, self.cpu, self.out, together=True)
        try:
            os.mkdir(self.out, 0o700)
            self.process = ProbeProcess(argv, self.out, self.cpu, self._affinity, together=True)
        except AgentError as error:
            self._trouble = error
        except OSError as error:
            self._trouble = AgentError("environment", "control", f"the control cannot be started: {error.strerror}")

    def finish(
        self, before: Mapping[str, Any], after: Mapping[str, Any], measured: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """What the record says of it, beside what was ``measured``; its files go beside the run's, as ``control.…``."""
        unavailable = {"cpu": self.cpu, "status": "unavailable"}
        if self.process is None:
            reason = one_line(self._trouble) if self._trouble else "it was not started"
            return {**unavailable, "reason": reason}
        try:
            result = self.process.result()
            for name, metric in result_files(result).items():
                target = f"control.{spooled_name(name, metric, self.cpu)}"
                os.rename(os.path.join(self.out, name), os.path.join(self._folder, target))
        except AgentError as error:
            return {**unavailable, "reason": one_line(error)}
        except OSError as error:
            return {**unavailable, "reason": f"its files cannot be kept: {error.strerror}"}
        # Where it was not where it should be, the rules say so.
        seen = Evidence(self._spec, MODE, before, after, [result], {}, [], None)
        beside = replace(seen, results=[result, *measured])
        validity = to_json(judge(seen, (*CONTROL_CHECKS, lambda _: together(beside))))
        return {"cpu": self.cpu, "status": "ok", "validity": validity, "result": result}
