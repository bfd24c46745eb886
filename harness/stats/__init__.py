# SPDX-License-Identifier: Apache-2.0
"""Pure statistics. The unit of comparison is a run, never a sample."""
