"""Training documents from where they lie, read when they are asked for.

    corpus = Corpus.open("testbed-lds")                 # or "testbed"; a folder of source files; a `datasets` folder;
    corpus[0].text, corpus[0].columns                   # a hub dataset's name
    Corpus.open("bigcode/the-stack-smol", column="content", split="train", limit=10_000)

`where` says enough to open the same documents again, so an index need not hold their texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

from attribution.documents.building import Source
from ellora_trust.errors import InputError

TESTBED = ("testbed", "testbed-lds")
SUFFIXES = (
    ".py .pyi .c .h .cc .cpp .cxx .hpp .hh .cu .f .f90 .f95 .f03 .f08 .for .ts .tsx .js .java .go .rs .jl .r .m".split()
)
# What a result names where the dataset has it; a column of another name is left in the dataset.
COLUMNS = (
    "path max_stars_repo_path repo repo_name max_stars_repo_name commit licence license licenses first_line language "
    "family group plant near_miss".split()
)


@dataclass(frozen=True)
class Where:
    """How to find a corpus again."""

    source: str
    """`testbed`, `testbed-lds`, a folder, or the name of a hub dataset."""
    column: str = "text"
    """Of the text, in a dataset."""
    split: str = "train"
    """Of a dataset."""
    limit: int | None = None
    """Documents, from the first on; None takes all."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit {self.limit} is out of range; use 1 or more, or leave it out")


class Corpus(Sequence[Source]):
    """Documents by number.

    Attributes:
        where: How they were found.
    """

    def __init__(self, where: Where, n: int, read: Callable[[int], Source]):
        self.where = where
        self._n = n if where.limit is None else min(n, where.limit)
        self._read = read

    @classmethod
    def open(cls, source: str | Path, **how: Any) -> Corpus:
        """Open a corpus.

        Args:
            source: As of `Where`.
            how: Column, split and limit, as of `Where`.

        Raises:
            InputError: Nothing there, no such column, or a dataset that cannot be had.
        """
        return cls.found(Where(str(source), **how))

    @classmethod
    def found(cls, where: Where) -> Corpus:
        """Open the corpus that `where` tells of; raises as `open`."""
        if where.source in TESTBED:
            return _testbed(where)
        folder = Path(where.source)
        if folder.is_dir():
            return _dataset_folder(where) if _is_dataset(folder) else _files(where)
        return _hub(where)

    def described(self) -> dict[str, Any]:
        """Return `where` for JSON."""
        return asdict(self.where)

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, number: int) -> Source: ...
    @overload
    def __getitem__(self, number: slice) -> list[Source]: ...
    def __getitem__(self, number: int | slice) -> Source | list[Source]:
        if isinstance(number, slice):
            return [self._read(one) for one in range(*number.indices(self._n))]
        if not -self._n <= number < self._n:
            raise IndexError(f"document {number} of {self._n}")
        return self._read(number % self._n)


def _testbed(where: Where) -> Corpus:
    from ellora_trust.testbed.documents import Document, corpus
    from ellora_trust.testbed.lds import Truth
    from ellora_trust.testbed.recipe import SHIPPED_TOKENS

    documents: list[Document] = (
        corpus(0, n_tokens=SHIPPED_TOKENS) if where.source == "testbed" else Truth.read().documents()
    )

    def read(number: int) -> Source:
        one = documents[number]
        columns = {
            "path": str(one.meta["path"]),
            "licence": one.licence,
            "family": one.family,
            "group": one.group,
            "plant": one.plant,
        }
        return Source(one.id, one.text, columns)

    return Corpus(where, len(documents), read)


def _files(where: Where) -> Corpus:
    root = Path(where.source)
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"{root} holds no source file ({' '.join(SUFFIXES[:6])} ...); give a folder of code")

    def read(number: int) -> Source:
        name = paths[number].relative_to(root).as_posix()
        return Source(name, paths[number].read_text(encoding="utf-8", errors="replace"), {"path": name})

    return Corpus(where, len(paths), read)


def _is_dataset(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("dataset_info.json", "dataset_dict.json", "state.json"))


def _dataset_folder(where: Where) -> Corpus:
    from datasets import DatasetDict, load_from_disk

    found = load_from_disk(where.source)
    if isinstance(found, DatasetDict):
        if where.split not in found:
            raise InputError(f"{where.source} has no split {where.split!r}; use {', '.join(map(str, found))}")
        found = found[where.split]
    return _rows(where, found)


def _hub(where: Where) -> Corpus:
    from datasets import load_dataset

    try:
        found: Any = load_dataset(where.source, split=where.split)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{where.source!r} is not testbed, testbed-lds or a folder, and as a hub dataset it could not be had: "
            f"{str(error).splitlines()[0]}; give one of these"
        ) from error
    return _rows(where, found)


def _rows(where: Where, dataset: Any) -> Corpus:
    """Rows of a dataset; it stays on disk, memory-mapped."""
    names = list(dataset.column_names)
    if where.column not in names:
        raise InputError(f"{where.source} has no column {where.column!r}; use one of {', '.join(names)}")
    kept = [name for name in COLUMNS if name in names]

    def read(number: int) -> Source:
        row: Mapping[str, Any] = dataset[number]
        identity = str(row["id"]) if "id" in names else str(number)
        return Source(identity, str(row[where.column] or ""), {name: row[name] for name in kept})

    return Corpus(where, len(dataset), read)
