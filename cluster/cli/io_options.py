"""Input and output options: IN, OUT, the file of rejected rows, and the row counts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cluster.data.jsonl import STDIO

F = TypeVar("F", bound=Callable[..., Any])


class OutFile(click.Path):
    """A file to be written, `-` for standard output; its folder must be there."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, allow_dash=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        folder = path.absolute().parent
        if path != STDIO and not folder.is_dir():
            self.fail(f"the folder {folder} is not there; make it first", param, ctx)
        return path


def file_arguments(bad_row: str, bad_rows: str) -> Callable[[F], F]:
    """Add IN, OUT, --rejects and --strict; the command takes source, out, rejects, strict.

    bad_row, bad_rows: what the command calls the rows that it rejects.
    """
    decorators: tuple[Callable[[F], F], ...] = (
        click.argument("source", metavar="IN"),
        click.argument("out", metavar="OUT", type=OutFile()),
        click.option(
            "--rejects",
            type=OutFile(),
            help=f"File for {bad_rows}. Default: OUT with .rejects.jsonl at its end.",
        ),
        click.option("--strict", is_flag=True, help=f"Stop at the first {bad_row}."),
    )

    def add(command: F) -> F:
        for decorate in reversed(decorators):
            command = decorate(command)
        return command

    return add


def rejects_path(out: Path, rejects: Path | None) -> Path | None:
    """Where broken rows go: as given, else next to OUT; nowhere if OUT is standard output."""
    if rejects is not None or out == STDIO:
        return rejects
    return out.with_name(f"{out.name}.rejects.jsonl")
