# SPDX-License-Identifier: Apache-2.0
"""isolbench: what a kernel does to a core that was asked to be left alone.

The words, each with one meaning, in code, files, documents and output:

target
    a machine under test, from the inventory: ``local``, over SSH, or a virtual board
bench
    what is measured: a probe, its parameters, its metrics (``benches/*.yaml``)
probe
    a C program that measures on the measured CPU
mode
    how the measured task is isolated: where x sched x hold
provider
    what puts a mode into effect: scheduler, cgroup, boot parameter, kernel prctl family, user space
load
    work on the housekeeping CPUs during a run
disturbance
    an event injected on purpose, at a known time: ground truth
kernel, boot profile
    a kernel build with its identity; a named set of command-line parameters
campaign
    a matrix of all these over targets (``benches/campaigns/*.yaml``)
execution
    one carrying-out of a campaign, named by its start; ``run`` makes one, ``resume`` continues one
cell
    one point of the matrix; its id hashes what was *asked*, by inventory name, defaults left out
run, attempt
    one measurement of a cell; a run that failed, with the reason and whose fault
session
    the runs between two boots of a target; the cluster of the statistics
lane
    all sessions of one target in an execution, in order
batch
    the runs of one session, handed to the agent at once
spool, undo
    on the target: finished runs not yet fetched; what was changed and must be put back
series
    a cell without the compared axis, over executions
gap
    an interval in which user code made no progress, in ns
entry
    a passage into the kernel: ``syscall``, ``exception`` (synchronous), ``interrupt`` (asynchronous: irq, ipi, nmi);
    else ``unexplained``
verdict
    ``regressed``, ``improved``, ``unchanged``, ``undecided`` (too few runs), ``invalid``
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import PathLike

    from .store.catalogue import Catalogue

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def load(path: str | PathLike[str]) -> Catalogue:
    """The catalogue of ``path`` (a results folder, a campaign, an execution or a run) as a pandas DataFrame.

    One row per run, metric and CPU; ``.histogram(row)`` gives the row's HdrHistogram. See ``docs/formats.md``.
    """
    # pandas costs a third of a second to import: the command line imports this package for every --help.
    from .store.catalogue import load as load_catalogue

    return load_catalogue(path)
