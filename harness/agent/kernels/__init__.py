# SPDX-License-Identifier: Apache-2.0
"""Kernels of ours on this machine: what there is, what is put, installed and armed, and how all of it goes again."""
