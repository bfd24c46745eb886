# SPDX-License-Identifier: Apache-2.0
"""What an execution leaves on disk: files are the truth, indexes are rebuilt at will."""
