# SPDX-License-Identifier: Apache-2.0
"""Completion in bash, where click's own breaks: bash takes ``mode=fifo``, ``tag:arm`` and ``nightly@-2`` for several
words. So the line itself is looked at, and of each offer bash is given what follows the last of its word breaks.

zsh and fish are click's.
"""

from __future__ import annotations

import os
import re

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

_SOURCE = """\
%(complete_func)s() {
    local line type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value"); [[ $value == *= ]] && compopt -o nospace ;;
        esac
    done < <(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1")
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""
#: Of bash's word breaks, those that are part of a word of ours.
_BREAKS = "=:@"


class Bash(BashComplete):
    source_template = _SOURCE

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
        words = split_arg_string(line)
        incomplete = words.pop() if words and not line[-1].isspace() else ""
        breaks = set(_BREAKS) & set(os.environ.get("COMP_WORDBREAKS", _BREAKS))
        found = re.match(f".*[{''.join(breaks)}]", incomplete) if breaks else None
        self._before = len(found[0]) if found else 0
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type},{item.value[self._before :]}"


def register() -> None:
    """In the place of click's, before click looks at what the shell asks."""
    add_completion_class(Bash)
