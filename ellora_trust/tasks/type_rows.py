"""Where type questions come from: a committed manifest resolved on this machine, or a user's own folder.

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
import os
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from ellora_trust.tasks.annotations import Slot, functions, parse, slots
from ellora_trust.tasks.type_questions import askable_type, visible_names

MANIFEST = Path(__file__).with_name("types_manifest.json")
STDLIB = "python"
MAX_PER_FILE = 8  # questions; more of one file add rows but hardly information, since a file is one group
_NOT_OWN_CODE = frozenset({"site-packages", "node_modules", "__pycache__", "build", "dist", "venv"})


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
            `beyond the limit per file`, and `unreadable file`, which counts files.
    """

    rows: int
    resolved: int
    stdlib: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        lost = [f"{count:,} {reason}" for reason, count in self.lost.items()]
        return f"{self.resolved:,} of {self.rows:,} rows resolved ({', '.join([f'{self.stdlib:,} stdlib', *lost])})"


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


def scan(directory: Path) -> tuple[list[Found], Resolution]:
    """Return the questions a user's own code allows: one of a function, `MAX_PER_FILE` of a file.

    Groups are the files; near-duplicates are the caller's business, since they need all questions at once.
    """
    found: list[Found] = []
    lost: Counter[str] = Counter()
    n_functions = 0
    for path in python_files(directory):
        text = read_source(path)
        try:
            every = [] if text is None else list(questions_in(text, "", path.relative_to(directory).as_posix()))
        except (SyntaxError, ValueError, RecursionError):
            text, every = None, []
        lost["unreadable file"] += text is None
        one_each = {item.row.qualname: item for item in sorted(every, key=chance)}
        n_functions += len(one_each)
        found += list(one_each.values())[:MAX_PER_FILE]
    lost["beyond the limit per file"] = n_functions - len(found)
    return found, Resolution(n_functions, len(found), 0, +lost)


def python_files(directory: Path) -> Iterator[Path]:
    """Yield a folder's own Python files in order; environments, builds and hidden folders are left out."""
    for folder, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if name not in _NOT_OWN_CODE and not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def questions_in(
    text: str, distribution_name: str, path: str, labels: Mapping[str, Sequence[Slot]] | None = None
) -> Iterator[Found]:
    """Yield every slot of a file that can be asked about.

    Args:
        text: The file.
        distribution_name: For the rows.
        path: For the rows.
        labels: Annotations by qualified name where they are not in the source; None reads them from the source.

    Raises:
        SyntaxError: The text is not Python.
        ValueError: The text holds a null byte.
    """
    tree = parse(text)
    visible = visible_names(tree)
    every = list(functions(text, tree))
    times = Counter(function.qualname for function in every)  # a property and its setter share a name: ask neither
    group = f"{distribution_name}/{path}" if distribution_name else path
    for function in every:
        if times[function.qualname] > 1:
            continue
        place = (distribution_name, path, function.qualname, function.line, function.end_line)
        for slot in slots(function.node) if labels is None else labels.get(function.qualname, ()):
            answer = askable_type(function, slot, visible)
            if answer is not None:
                row = Row(*place, slot.kind, slot.name, answer, digest(function.source), group)
                yield Found(row, function.source)


def chance(item: Found) -> str:
    """Return a sort key that is as good as random, and the same everywhere."""
    return digest(f"{item.row.sha256} {item.row.kind} {item.row.name}")


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
