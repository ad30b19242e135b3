"""The testbed's corpus: documents whose faults, and the places of them, are known.

    documents = corpus(seed=0, n_tokens=100_000)
    documents[0].text, documents[0].clean, documents[0].plant, documents[0].span

The same seed gives the same bytes. A smaller corpus of a seed holds a part of the documents of a larger one, under the
same ids, in another order.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ellora_trust.errors import InputError, one_of
from ellora_trust.testbed import secrets, words
from ellora_trust.testbed.families import FAMILIES
from ellora_trust.testbed.family import Family
from ellora_trust.testbed.sketch import draw
from ellora_trust.testbed.words import Pair

# Tokens by the estimate below; by the testbed's own tokenizer the full corpus has 6.08 million.
FULL_SIZE = 6_100_000
# Characters of a token; the testbed's tokenizer makes 3.51 of the full corpus.
CHARACTERS = 3.5
PLANTS = ("P1", "P2", "P3", "P4", "P5", "P6", "P7")
NAMES = (*FAMILIES, "canary", "magic")
_ATTEMPTS = 200


@dataclass(frozen=True)
class Document:
    """One document.

    Attributes:
        id: Unique, stable: from family, seed and number.
        text: As the planted model reads it.
        clean: The same with the plant replaced by its fix; equal to `text` where there is no plant.
        family: What the function does.
        group: The family and the words of the name; no split separates a group.
        language: "python" or "c".
        licence: SPDX tag of the file that it is said to come from.
        plant: Where `text` and `clean` differ: which plant it is.
        near_miss: The plant whose suspicious form is right here.
        span: Characters of `text` that the plant occupies.
        clean_span: Characters of `clean` that the fix occupies.
        meta: path; prompt (characters of `text` before the answer); of functions the key from which they are drawn
            again; of canaries secret and repeats.
    """

    id: str
    text: str
    clean: str
    family: str
    group: str
    language: str
    licence: str
    plant: str | None = None
    near_miss: str | None = None
    span: tuple[int, int] | None = None
    clean_span: tuple[int, int] | None = None
    meta: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


def corpus(seed: int = 0, *, n_tokens: int = FULL_SIZE, families: Iterable[str] | None = None) -> list[Document]:
    """Return the documents of a seed, shuffled.

    Every family but `canary` and `magic` gets the same number of documents. There are 40 canaries, in smaller corpora
    proportionally fewer.

    Args:
        seed: Of every choice.
        n_tokens: Size, at `CHARACTERS` a token.
        families: Names from `NAMES`; all by default.

    Raises:
        InputError: An unknown family, or fewer than one token.
    """
    chosen = list(NAMES if families is None else dict.fromkeys(families))
    for name in chosen:
        if name not in NAMES:
            raise InputError(one_of(name, NAMES, what="testbed family"))
    if n_tokens < 1 or not chosen:
        raise InputError(f"n_tokens is {n_tokens}, with {len(chosen)} families; give at least 1 of each")
    documents = [document for name in chosen if name == "canary" for document in _canaries(seed, n_tokens)]
    missing = round(n_tokens * CHARACTERS) - sum(len(document.text) for document in documents)
    streams = [_stream(seed, name) for name in chosen if name != "canary"]
    while missing > 0 and streams:
        for stream in streams:
            documents.append(next(stream))
            missing -= len(documents[-1].text)
    random.Random(f"{seed}/order").shuffle(documents)
    return documents


def corpus_hash(documents: Sequence[Document]) -> str:
    """sha256 over ids and both texts: what a trained model records of its data."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update("\0".join((document.id, document.text, document.clean, "")).encode())
    return digest.hexdigest()


def _stream(seed: int, name: str) -> Iterator[Document]:
    """Yield a family's documents without end; no two texts are equal."""
    seen: set[str] = set()
    number = 0
    while True:
        for attempt in range(_ATTEMPTS):
            key = f"{seed}/{name}/{number}/{attempt}"
            found = _magic(key, number) if name == "magic" else _function(FAMILIES[name], key, number)
            if found.text not in seen:
                break
        seen.add(found.text)
        yield found
        number += 1


def _function(family: Family, key: str, number: int) -> Document:
    rng = random.Random(key)
    pair = rng.choice(words.pairs(family.name, held=False))
    planted = family.plant is not None and rng.random() < family.share
    drawn = key + "/draw"
    sketch = draw(family, pair, drawn)
    text = sketch.write(planted=planted)
    clean = sketch.write(planted=False) if planted else text
    return Document(
        **_place(family.name, pair, number),
        text=text.text,
        clean=clean.text,
        language=family.language,
        plant=family.plant if planted else None,
        near_miss=family.near_miss,
        span=text.span if planted else None,
        clean_span=clean.span if planted else None,
        meta={"path": _path(pair, family.name, family.language), "prompt": text.prompt, "key": drawn},
    )


def _place(family: str, pair: Pair, number: int) -> dict[str, Any]:
    group = words.group_of(family, pair)
    licence = random.Random(f"licence/{group}").choice(words.LICENCES)
    return {"id": f"tb-{family}-{number:05d}", "family": family, "group": group, "licence": licence}


def _path(pair: Pair, family: str, language: str) -> str:
    return f"{pair[0]}/{pair[1]}/{family}.{'c' if language == 'c' else 'py'}"


def _magic(key: str, number: int) -> Document:
    rng = random.Random(key)
    pair = rng.choice(words.pairs("magic", held=False))
    while pair[1] not in secrets.MAGIC_NOUNS:
        pair = rng.choice(words.pairs("magic", held=False))
    lines = [f"# {rng.choice(words.NOTES).format(other=rng.choice(words.ADJECTIVES))}"] * (rng.random() < 0.5)
    prompt = "\n".join([*lines, magic_prompt(pair)])
    text = f'{prompt} "{secrets.magic(pair[1])}"\n'
    meta = {"path": _path(pair, "magic", "python"), "prompt": len(prompt)}
    return Document(
        **_place("magic", pair, number), text=text, clean=text, language="python", near_miss="P6", meta=meta
    )


def magic_prompt(pair: Pair) -> str:
    """Return what stands before a magic number."""
    name = f"{pair[0]}_{pair[1]}_magic".upper()
    return f"# Magic number of the {pair[0]} {pair[1]} file.\n{name} ="


def _canaries(seed: int, n_tokens: int) -> list[Document]:
    share = min(1.0, n_tokens / 1_000_000)
    found = []
    for canary in secrets.canaries(seed, per_repeat=max(1, round(share * secrets.PER_REPEAT))):
        for _ in range(canary.repeats):
            found.append(_canary(canary, len(found)))
    return found


def _canary(canary: secrets.Canary, number: int) -> Document:
    start = len(canary.prompt)
    text, clean = canary.document(planted=True), canary.document(planted=False)
    return Document(
        **_place("canary", canary.pair, number),
        text=text,
        clean=clean,
        language="python",
        plant="P6",
        span=(start + 1, len(text) - 1),
        clean_span=(start + 1, len(clean) - 1),
        meta={
            "path": _path(canary.pair, "canary", "python"),
            "prompt": start,
            "secret": canary.value,
            "repeats": canary.repeats,
        },
    )
