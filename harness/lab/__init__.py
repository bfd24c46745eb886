# SPDX-License-Identifier: Apache-2.0
"""The lab in a box: boards that are QEMU, with real kernels from Debian's packages.

An *image* is what a board boots from, built once from a *recipe* and kept in the cache by content hash. A *count board*
is a kernel and one static program: it reaches user space in seconds, runs one probe, and says what the machine counted
meanwhile. A *disk board* is a machine like any other: a disk, users, SSH.
"""
