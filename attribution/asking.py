"""What stands behind one answer: gradient and text over a whole indexed corpus, in one ranking.

    build(model, Corpus.open("testbed-lds"), Path("runs/index"))
    library = Library.open(Path("runs/index"), model)
    asked = library.ask(prompt, answer, k=10)                       # or about=(start, end) of prompt + answer
    asked.hits[0].document, asked.hits[0].basis, asked.hits[0].lines

The index holds the gradients; texts are read from the corpus, which the index's folder names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attribution.corpora import Corpus, Where
from attribution.documents.bm25 import bm25_scores
from attribution.documents.building import ALL, Plan
from attribution.documents.evidence import Evidence, Side
from attribution.documents.fuse import Hit, rank, with_clusters
from attribution.documents.lines import line_scores
from attribution.documents.origins import Origins
from attribution.documents.shared_scan import any_kept, kept_scores, place_of, scan_share
from attribution.gradient.losses import Target, contrast, spans
from attribution.gradient.losses import answer as answer_of
from attribution.index import GradientIndex
from attribution.ngrams import NgramIndex
from ellora_trust.artifacts import read_description
from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError
from ellora_trust.share import Share
from ellora_trust.spans import select

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

WHERE, NGRAMS = "corpus.json", "ngrams.safetensors"


@dataclass(frozen=True)
class Asked:
    """What was found for one answer.

    Attributes:
        prompt: What the model was asked.
        answer: What it said.
        about: Characters of prompt + answer that are asked about; None for the answer.
        foil: What it did not say instead; None where that was not asked.
        hits: Best first.
        texts: Of their documents, in the same order.
        n_documents: Documents in the corpus.
        lines: Influence of each line of each text, in the index's own units; empty where it was not asked for, and of a
            text whose lines were not read.
    """

    prompt: str
    answer: str
    about: tuple[int, int] | None
    foil: str | None
    hits: list[Hit]
    texts: list[str]
    n_documents: int
    lines: list[list[float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return asdict(self)


def build(
    model: CodeModel,
    corpus: Corpus,
    out: Path,
    *,
    plan: Plan | None = None,
    share: Share = ALL,
    progress: bool = False,
) -> bool:
    """Index a corpus, or a share of it, and write down where it lies; resumes. Raises as `GradientIndex.build`.

    Returns:
        Whether the index is finished: every share of it is there.
    """
    path = out / WHERE
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != corpus.described():
        raise InputError(f"{out} holds an index of another corpus; give another folder or delete it")
    with replacing(path) as beside:
        beside.write_text(json.dumps(corpus.described()) + "\n", encoding="utf-8")
    complete = GradientIndex.build_share(model, corpus, out, share, plan=plan, progress=progress)
    if complete and not (out / NGRAMS).exists():
        NgramIndex(model.tokenizer).fit([one.text for one in corpus]).save(out / NGRAMS)
    return complete


def model_of(folder: Path) -> str:
    """Return the name of the model that an index was made with. Raises as `Library.open`."""
    _found(folder)
    return read_description(folder).model["name"]


def _found(folder: Path) -> None:
    if not (folder / WHERE).exists():
        raise InputError(f"{folder} holds no index; make one with ellora-trust attribute index")


class Library:
    """An index and the texts it was made of.

    Attributes:
        index: Gradients.
        corpus: Texts.
    """

    def __init__(self, model: CodeModel, index: GradientIndex, corpus: Corpus):
        self.index, self.corpus, self._model = index, corpus, model

    @classmethod
    def open(cls, folder: Path, model: CodeModel, *, force: bool = False) -> Library:
        """Open what `build` wrote.

        Raises:
            InputError: No index there, one of another model, or a corpus that is not there any more or has changed.
        """
        _found(folder)
        index = GradientIndex.load(folder, model, force=force)
        corpus = Corpus.found(Where(**json.loads((folder / WHERE).read_text(encoding="utf-8"))))
        if len(corpus) != len(index):
            raise InputError(
                f"{corpus.where.source} has {len(corpus)} documents and the index {len(index)}; index it again"
            )
        return cls(model, index, corpus)

    def ask(
        self,
        prompt: str,
        answer: str,
        *,
        about: tuple[int, int] | None = None,
        foil: str | None = None,
        k: int = 10,
        side: Side = "proponents",
    ) -> Asked:
        """Return the documents behind an answer, behind some characters, or behind this answer rather than another.

        Args:
            prompt: What the model was asked.
            answer: What it said.
            about: Half-open range of characters of prompt + answer.
            foil: Another answer: the question is why it was not given. It finds best what carries a fault.
            k: Hits.
            side: "opponents" for what made it less likely.

        Raises:
            InputError: An answer or a range without tokens, both a range and a foil, or a `k` below 1.
        """
        whole = prompt + answer
        target = self._target(prompt, answer, about, foil)
        ngrams = self._ngrams
        shared = any_kept(self.index.folder)
        scores = kept_scores(self.index, self._place(prompt, answer, about, foil)) if shared else None
        scores = self.index.scores([target]) if scores is None else scores
        evidence = Evidence(
            ngrams.score([whole], [about]),
            ngrams.coverage([whole], [about or (len(prompt), len(whole))]),
            scores.astype(np.float64),
        )
        said = whole[slice(*about)] if about else answer
        origins = Origins(self.corpus)
        (hits,) = rank(evidence, [said], origins, tokenizer=self._model.tokenizer, k=k, side=side)
        chosen = with_clusters([origins[self._numbers[hit.document]] for hit in hits])
        hits = [replace(hit, cluster=origin.cluster) for hit, origin in zip(hits, chosen, strict=True)]
        return Asked(prompt, answer, about, foil, hits, [origin.text for origin in chosen], len(self.corpus))

    def scan_share(
        self,
        prompt: str,
        answer: str,
        share: Share,
        *,
        about: tuple[int, int] | None = None,
        foil: str | None = None,
    ) -> bool:
        """Compare this process's share of the documents; `ask` of the same question then finds the scores.

        Returns:
            Whether all documents have been compared.

        Raises:
            InputError: As `ask`.
            EnvironmentProblem: The index's folder cannot be written.
        """
        target = self._target(prompt, answer, about, foil)
        return scan_share(self.index, target, share, self._place(prompt, answer, about, foil))

    def _place(self, prompt: str, answer: str, about: tuple[int, int] | None, foil: str | None) -> Path:
        question = {"prompt": prompt, "answer": answer, "about": about, "foil": foil}
        # Another model may be asked by force, and a folder may hold another index by now.
        of = [self._model.fingerprint, self.index.artifact.model["fingerprint"], self.index.artifact.config]
        return place_of(self.index.folder, {**question, "of": of, "rows": self.index.identity})

    def _target(self, prompt: str, answer: str, about: tuple[int, int] | None, foil: str | None) -> Target:
        if about and foil is not None:
            raise InputError("a span and a foil were given; ask about one of them: a foil finds its own span")
        if foil is not None:
            return contrast(self._model, prompt, answer, foil)
        return spans(self._model, prompt + answer, [about]) if about else answer_of(self._model, prompt, answer)

    def with_lines(self, asked: Asked, numbers: Sequence[int] | None = None) -> Asked:
        """Return the same with the influence of each line of some hits' documents, which are read again for it.

        Args:
            asked: From `ask`.
            numbers: Of the hits; all if None.
        """
        target = self._target(asked.prompt, asked.answer, asked.about, asked.foil)
        making, read = self.index.projector, range(len(asked.texts)) if numbers is None else numbers
        (row,) = making.numbers([target])
        scores = {number: line_scores(making, row, asked.texts[number]).tolist() for number in read}
        return replace(asked, lines=[scores.get(number, []) for number in range(len(asked.texts))])

    def removals(self, asked: Asked, *, seed: int = 0) -> dict[str, list[int]]:
        """Return the numbers of the hits' documents, of as many by BM25, and of as many at random: see `verify`."""
        n = len(asked.hits)
        (by_words,) = bm25_scores([asked.prompt + asked.answer], [one.text for one in self.corpus])
        drawn = np.random.default_rng(seed).choice(len(self.corpus), n, replace=False)
        return {
            "this ranking": [self._numbers[hit.document] for hit in asked.hits],
            "BM25": np.argsort(-by_words, kind="stable")[:n].tolist(),
            "random": drawn.tolist(),
        }

    @cached_property
    def _ngrams(self) -> NgramIndex:
        return NgramIndex.load(self.index.folder / NGRAMS, self._model.tokenizer)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {one.id: number for number, one in enumerate(self.corpus)}


def chosen_span(text: str, about: str, language: str) -> tuple[int, int]:
    """Return the characters that `20:28` or a selector of `ellora_trust.spans` names; the last where it names several.

    Raises:
        InputError: It names nothing in the text.
    """
    start, colon, end = about.partition(":")
    if colon and start.isdecimal() and end.isdecimal():
        return int(start), int(end)
    found = select(text, language, about)  # pyright: ignore[reportArgumentType]  # checked there
    if not found:
        raise InputError(f"nothing in prompt and answer is a {about} of {language}; give another span, or START:END")
    return found[-1].start, found[-1].end
