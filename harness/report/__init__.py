# SPDX-License-Identifier: Apache-2.0
"""What people read. One file for each form; all read the same view model."""
