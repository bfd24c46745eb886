# SPDX-License-Identifier: Apache-2.0
"""``schema``: what the files may say, for editors and validators."""

from __future__ import annotations

import click

from . import options
from .render import echo_json

#: As in :data:`harness.config.schema.SCHEMAS`, which a completion should not have to import.
KINDS = ("campaign", "inventory", "bench")


@click.command(
    help="Print the JSON Schema (2020-12) of campaign, inventory or bench files, for an editor: save it, and begin a "
    "file with `# yaml-language-server: $schema=campaign.schema.json`."
)
@click.argument("kind", type=click.Choice(KINDS))
@options.as_json
def schema(kind: str, as_json: bool) -> None:  # noqa: ARG001 - JSON in any case
    from ..config.schema import SCHEMAS

    echo_json(SCHEMAS[kind]())
