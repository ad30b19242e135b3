"""What commands share: tables on standard output, JSON for programs, remarks on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ellora_trust.quiet import is_quiet


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, as wide as it needs where the output is not a terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(title=title or None, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    console.print(table)


def _plain(cell: str) -> str:
    from rich.markup import escape

    return escape(str(cell))


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2, allow_nan=False))


def say(line: str) -> None:
    """Print a remark on standard error, where it does not mix with results; under --quiet only a warning."""
    if is_quiet() and not line.lower().startswith("warning"):
        return
    print(line, file=sys.stderr, flush=True)


def given(text: str) -> str:
    """Return an argument's text; `@FILE` stands for what is in the file.

    Raises:
        InputError: There is no such file.
    """
    from ellora_trust.errors import InputError

    if not text.startswith("@"):
        return text
    path = Path(text[1:])
    if not path.is_file():
        raise InputError(f"there is no file {path}; give the text itself, or @FILE")
    return path.read_text(encoding="utf-8")


def human_size(n_bytes: float) -> str:
    """Return a size for people, such as `513 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
