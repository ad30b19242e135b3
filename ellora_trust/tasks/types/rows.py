"""Rows of the `types` task: where a function is, what is asked of it, and whether it is on this machine.

A manifest row points at a function in an installed distribution or in the standard library and says what is asked of
it; it holds no source. The sha256 of the function decides: what is missing or differs is counted, never used. Files are
read, nothing is imported.

    found, resolution = resolve(read_manifest(MANIFEST))
    found[0].row.type, found[0].source        # 'str', 'def ...'
    print(resolution)                         # '1,700 of 1,800 rows resolved (...)'
"""

from __future__ import annotations

import hashlib
import io
import json
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ellora_trust.tasks.types.annotations import Slot, functions

MANIFEST = Path(__file__).with_name("manifest.json")
STDLIB = "python"


@dataclass(frozen=True)
class Row:
    """One question: where the function is, what is asked, and the answer.

    Attributes:
        distribution: Name on the package index, `python` for the standard library, empty for a user's own code.
        path: File, relative to site-packages, the standard library or the user's folder, with `/`.
        qualname: `function` or `Class.method`.
        line: First line of the function in the version the row was made from, 1-based; only a hint.
        end_line: Last line.
        kind: `param` or `return`.
        name: The parameter; empty for `return`.
        type: The answer, normalised.
        sha256: Of the function's lines, UTF-8, newlines as `\\n`.
        group: File, or the first file of its near-duplicate cluster.
    """

    distribution: str
    path: str
    qualname: str
    line: int
    end_line: int
    kind: str
    name: str
    type: str
    sha256: str
    group: str

    @property
    def slot(self) -> Slot:
        """What is asked."""
        return Slot("param", self.name) if self.kind == "param" else Slot("return")


@dataclass(frozen=True)
class Release:
    """The version and licence a manifest's rows were made from."""

    version: str
    licence: str


@dataclass(frozen=True)
class Manifest:
    """Rows and the releases they point into; `labels` names where the standard library's answers come from."""

    releases: Mapping[str, Release]
    rows: Sequence[Row]
    labels: str


@dataclass(frozen=True)
class Found:
    """A row and the function's source on this machine."""

    row: Row
    source: str


@dataclass(frozen=True)
class Resolution:
    """How many rows became questions, and what happened to the others.

    Attributes:
        rows: Rows of the manifest; for a user's folder, functions that can be asked about.
        resolved: Rows whose function is here, unchanged.
        stdlib: Those of them in the standard library.
        lost: Reason and how many rows (`missing distribution`, `missing file`, `changed function`); for a folder
            `beyond the limit per file` and `too long to show`, and `unreadable file`, which counts files.
    """

    rows: int
    resolved: int
    stdlib: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        details = [f"{count:,} {reason}" for reason, count in {"stdlib": self.stdlib, **self.lost}.items() if count]
        counted = f"{self.resolved:,} of {self.rows:,} rows resolved"
        return f"{counted} ({', '.join(details)})" if details else counted


def read_manifest(path: Path) -> Manifest:
    """Read a manifest written by `write_manifest`."""
    data = json.loads(path.read_text(encoding="utf-8"))
    releases = {name: Release(**release) for name, release in data["releases"].items()}
    return Manifest(releases, [Row(*row) for row in data["rows"]], data["labels"])


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest, one row per line, so that a rebuild can be read as a diff."""
    head = {
        "labels": manifest.labels,
        "releases": {
            name: {"version": release.version, "licence": release.licence}
            for name, release in sorted(manifest.releases.items())
        },
    }
    rows = ",\n".join(json.dumps(astuple(row), separators=(",", ":"), ensure_ascii=False) for row in manifest.rows)
    path.write_text(f'{json.dumps(head, indent=0)[:-2]},\n"rows": [\n{rows}\n]}}\n', encoding="utf-8")


def resolve(manifest: Manifest) -> tuple[list[Found], Resolution]:
    """Find every row's function on this machine; rows keep the manifest's order."""
    roots = {name: distribution_root(name) for name in {row.distribution for row in manifest.rows}}
    by_file: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in manifest.rows:
        by_file[row.distribution, row.path].append(row)
    found: dict[Row, Found] = {}
    lost: Counter[str] = Counter()
    for (name, path), rows in by_file.items():
        root = roots[name]
        text = read_source(root / path) if root is not None else None
        if text is None:
            lost["missing distribution" if root is None else "missing file"] += len(rows)
            continue
        sources = _sources(text, rows)
        found |= {row: Found(row, source) for row, source in sources.items()}
        lost["changed function"] += len(rows) - len(sources)
    resolved = [found[row] for row in manifest.rows if row in found]
    stdlib = sum(item.row.distribution == STDLIB for item in resolved)
    return resolved, Resolution(len(manifest.rows), len(resolved), stdlib, +lost)


def distribution_root(name: str) -> Path | None:
    """Return the folder a distribution's paths are relative to, or None where it is not installed."""
    if name == STDLIB:
        return Path(sysconfig.get_path("stdlib"))
    try:
        return Path(str(distribution(name).locate_file("")))
    except PackageNotFoundError:
        return None


def digest(text: str) -> str:
    """Return the sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_source(path: Path) -> str | None:
    """Return a UTF-8 file's text with newlines as `\\n`, or None where there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _sources(text: str, rows: Sequence[Row]) -> dict[Row, str]:
    """Return the functions of one file that are unchanged; in another version they may have moved."""
    lines = io.StringIO(text).readlines()
    sources = {row: "".join(lines[row.line - 1 : row.end_line]) for row in rows}
    sources = {row: source for row, source in sources.items() if digest(source) == row.sha256}
    if len(sources) == len(rows):
        return sources
    try:
        moved = {(function.qualname, digest(function.source)): function.source for function in functions(text)}
    except (SyntaxError, ValueError):
        return sources
    return {row: moved[row.qualname, row.sha256] for row in rows if (row.qualname, row.sha256) in moved} | sources
