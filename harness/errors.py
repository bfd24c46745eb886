# SPDX-License-Identifier: Apache-2.0
"""The exception tree, which is also the table of exit codes.

::

    IsolbenchError
    ├── UserError            2   the command line or a file is wrong
    │   ├── ConfigError          errors in YAML, all at once, each with file:line:column
    │   └── PlanError            the campaign asks for something that contradicts itself
    ├── EnvironmentFault     3   this machine or the target lacks something it needs
    │   ├── BuildError           a probe cannot be compiled here
    │   └── TargetUnfit          the target was reached, but cannot do what is needed
    ├── InfrastructureFault  3   something between here and the target broke
    │   ├── Unreachable          no connection: name, route, port, back-off
    │   │   └── BoardDown            a virtual board that is not up: known at once, and it does not come by itself
    │   ├── HostKeyError         the host key is unknown or wrong (never retried)
    │   ├── ConnectionLost       the connection broke, or froze past its deadline
    │   ├── Busy                 the target is leased by somebody else
    │   └── StorageFull          a disk is full, here or there
    ├── Interrupted    130/143   a second signal: targets were left as they are
    └── Bug                 70   isolbench contradicts itself: please report

The four branches are whose *fault* a failed attempt is: ``user``, ``environment``, ``infrastructure``, ``bug``.
Outcomes that are no error (``1`` over a budget, ``4`` nothing valid, ``5`` incomplete) are decided from what an
execution left, in :mod:`harness.campaign.outcome`.
"""

from __future__ import annotations


class IsolbenchError(Exception):
    """Base of all. ``str()`` is one line for a person; ``advice`` says what would help."""

    exit_code = 70
    fault = "bug"

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        super().__init__(message)
        self.advice = advice


class UserError(IsolbenchError):
    exit_code = 2
    fault = "user"


class ConfigError(UserError):
    """One or more errors in configuration files; ``str()`` has one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PlanError(UserError):
    pass


class EnvironmentFault(IsolbenchError):
    exit_code = 3
    fault = "environment"


class BuildError(EnvironmentFault):
    pass


class TargetUnfit(EnvironmentFault):
    pass


class InfrastructureFault(IsolbenchError):
    exit_code = 3
    fault = "infrastructure"


class Unreachable(InfrastructureFault):
    pass


class BoardDown(Unreachable):
    pass


class HostKeyError(InfrastructureFault):
    pass


class ConnectionLost(InfrastructureFault):
    pass


class Busy(InfrastructureFault):
    """``owner`` is the id of whoever holds the lease, where the target says it."""

    def __init__(self, message: str, *, advice: str | None = None, owner: str | None = None) -> None:
        super().__init__(message, advice=advice)
        self.owner = owner


class StorageFull(InfrastructureFault):
    pass


class Interrupted(IsolbenchError):
    """SIGINT or SIGTERM. ``exit_code`` is 128 + the signal's number."""

    fault = "user"

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by signal {signum}")
        self.exit_code = 128 + signum


class Bug(IsolbenchError):
    pass
