"""Unrelated text, on which a good intervention changes nothing: pieces of code of a few hundred characters.

pieces = load_pieces("stdlib", limit=64, seed=0)
pieces[0].text, pieces[0].group
"""

from __future__ import annotations

import hashlib
import json
import random
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ellora_trust.errors import InputError

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# Characters of a piece: about 150 tokens of code.
LENGTH = 480
# Characters read as context before the first one that counts.
CONTEXT = 80
_SUFFIXES = (".py", ".c", ".h", ".cpp", ".hpp", ".f90", ".txt", ".md")
# A seed that no shipped corpus was made with.
_UNSEEN = 9_001


@dataclass(frozen=True)
class Piece:
    """A piece of text.

    Attributes:
        group: The file or document it comes from.
        context: What is read first.
        text: What counts.
    """

    group: str
    context: str
    text: str


def load_pieces(source: str, *, limit: int, seed: int = 0) -> list[Piece]:
    """Return at most `limit` pieces, each of another file where there are enough.

    Args:
        source: `stdlib` (the running Python's own sources), `testbed` (documents that no testbed model has read,
            without plants), a folder or a file.
        limit: Pieces at most.
        seed: Of the choice.

    Raises:
        InputError: Nothing to read there.
    """
    texts = _testbed(limit, seed) if source == "testbed" else _files(source, limit, seed)
    found = [piece for name, text in texts if (piece := _cut(name, text, seed)) is not None][:limit]
    if len(found) < 2:
        raise InputError(f"{source} has fewer than 2 texts of {CONTEXT + 40} characters; give a folder of source files")
    return found


def fitting(model: CodeModel, pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces that the model's context holds.

    Raises:
        InputError: Fewer than two do.
    """
    kept = [
        one
        for one in pieces
        if sum(len(model.tokenizer(text).input_ids) for text in (one.context, one.text)) <= model.max_length
    ]
    if len(kept) < 2:
        raise InputError(
            f"{model.name} reads at most {model.max_length} tokens, less than the pieces of text have; give short "
            "files as the suite's text"
        )
    return kept


def pieces_hash(pieces: Sequence[Piece]) -> str:
    """sha256 over all pieces."""
    return hashlib.sha256(json.dumps([(p.group, p.context, p.text) for p in pieces]).encode()).hexdigest()


def _cut(name: str, text: str, seed: int) -> Piece | None:
    if len(text) < CONTEXT + 40:
        return None
    start = random.Random(f"{seed}/{name}").randrange(max(len(text) - CONTEXT - LENGTH, 0) + 1)
    start = 0 if start == 0 else text.rfind("\n", 0, start) + 1
    border = start + CONTEXT
    return Piece(name, text[start:border], text[border : border + LENGTH])


def _files(source: str, limit: int, seed: int) -> list[tuple[str, str]]:
    root = Path(sysconfig.get_paths()["stdlib"]) if source == "stdlib" else Path(source).expanduser()
    if root.is_file():
        parts = root.read_text(encoding="utf-8", errors="replace")
        step = CONTEXT + LENGTH
        return [(f"{root.name}/{i}", parts[i : i + step]) for i in range(0, len(parts), step)]
    paths = sorted(p for p in root.rglob("*") if p.suffix in _SUFFIXES and _wanted(p.relative_to(root)))
    random.Random(seed).shuffle(paths)
    # Some files are too short to be cut.
    return [(str(p.relative_to(root)), p.read_text(encoding="utf-8", errors="replace")) for p in paths[: 2 * limit]]


def _wanted(path: Path) -> bool:
    return not {"site-packages", "test", "tests", "__pycache__", "idlelib"} & set(path.parts)


def _testbed(limit: int, seed: int) -> list[tuple[str, str]]:
    from ellora_trust.testbed.documents import corpus

    documents = corpus(_UNSEEN + seed, n_tokens=max(400 * limit, 40_000))
    return [(one.group, one.clean) for one in documents if one.plant is None and one.near_miss is None]
