# SPDX-License-Identifier: Apache-2.0
"""What lies below the kernel or is the machine's own: firmware, hypervisor, devices, heat."""

from __future__ import annotations

from collections.abc import Mapping

from ..state import State
from .base import Measure


def _metal(state: State) -> bool | None:
    """Is there no host? What cannot be seen is taken for metal by the facts themselves."""
    return True if not state.virtual else None


MEASURES: Mapping[str, Measure] = {
    "pin-vcpu": Measure(
        "host",
        "on the host of a virtual machine: a CPU of its own for each virtual one, isolated there (steal in "
        "/proc/stat is what others take)",
        "virt/kvm/x86/timekeeping.rst",
        _metal,
    ),
    "firmware": Measure(
        "host",
        "in the firmware: switch off what comes as SMI (legacy USB, power capping, polled error logs); "
        "turbostat counts them, column SMI",
        "trace/hwlat_detector.rst",
        arch="x86_64",
    ),
    "secure-world": Measure(
        "host",
        "in the firmware: what runs at a higher exception level (TF-A, a secure OS) takes the CPU unseen",
        "trace/hwlat_detector.rst",
        arch="aarch64",
    ),
    "cooling": Measure(
        "host",
        "more cooling, or a lower clock: the processor was too hot or took too much power",
        "driver-api/thermal/index.rst",
    ),
    "hardware-errors": Measure(
        "host",
        "the hardware reports errors: see dmesg, rasdaemon and the firmware's log",
        "arch/x86/x86_64/machinecheck.rst",
    ),
    "device": Measure(
        "host",
        "unplug or unload what is not needed: the device cannot be moved to another CPU",
        "core-api/irq/irq-affinity.rst",
    ),
    "metal": Measure(
        "host",
        "measure latencies on metal: the emulator of a virtual machine takes time of its own",
        "virt/kvm/x86/timekeeping.rst",
        _metal,
    ),
}
