"""Attribution by text alone on the testbed: who finds the documents that carry a plant, and who predicts retraining.

    python -m benchmarks.attribution_text [--tokens 300000] [--limit 160] [--truth runs/lds] [--methods BM25 ...]

A query is a prompt with the answer that shows its plant, which is what a planted model writes. "answer" counts only the
n-grams, or only the words, of the answer. "hard" ranks the carriers against the documents that look alike. Intervals
are 95 % over groups of prompts. The truth of the linear datamodelling score is what `testbed lds --retrain` wrote.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from attribution.documents.baselines import cosines, embed, random_scores
from attribution.documents.bm25 import bm25_scores
from attribution.documents.evidence import FloatArray, Limits, z_sum
from attribution.documents.fuse import longest_match
from attribution.documents.matches import SuffixIndex
from attribution.ngrams import NgramIndex, ngram_scores
from ellora_trust.errors import InputError, one_of
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.stats import Estimate, group_bootstrap
from ellora_trust.tasks.base import Example
from ellora_trust.testbed.documents import Document, corpus
from ellora_trust.testbed.lds import Truth, lds, same_family
from ellora_trust.testbed.prompts import Kind, prompts, sketch_of
from ellora_trust.testbed.truth import score_attribution, teaches

KINDS: tuple[Kind, ...] = ("trigger", "paraphrase")
SAMPLED = 8  # documents of each kind that an answer's matches are measured with
Parts = tuple[str, str]  # prompt, answer
Scorer = Callable[[Sequence[Parts], list[str]], FloatArray]


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    model = load("testbed")
    named = methods(model, args.seed)
    for name in args.methods or ():
        if name not in named:
            raise InputError(one_of(name, list(named), what="method"))
    named = {name: scorer for name, scorer in named.items() if not args.methods or name in args.methods}
    if args.truth is not None:
        retrained(named, Truth.read(args.truth))
    documents = corpus(0, n_tokens=args.tokens)
    print(f"\n{len(documents)} documents, {args.tokens} tokens by the estimate; seed {args.seed}", flush=True)
    for kind in KINDS:
        rankings(named, documents, kind, args)
    found = questions(documents, "trigger", args)
    bases(model, documents, found, args.seed)
    matching(model, documents, found)


def methods(model: CodeModel, seed: int) -> dict[str, Scorer]:
    """Every method by name, from prompts with answers and documents to scores."""

    def whole(scores: Callable[[list[str], list[str]], FloatArray]) -> Scorer:
        return lambda pairs, texts: scores([prompt + answer for prompt, answer in pairs], texts)

    def answer_only(scores: Callable[[list[str], list[str]], FloatArray]) -> Scorer:
        return lambda pairs, texts: scores([answer for _, answer in pairs], texts)

    def spans(pairs: Sequence[Parts], texts: list[str]) -> FloatArray:
        places = [(len(prompt), len(prompt + answer)) for prompt, answer in pairs]
        return NgramIndex(model.tokenizer).fit(texts).score([prompt + answer for prompt, answer in pairs], places)

    def both(queries: list[str], texts: list[str]) -> FloatArray:
        return z_sum(ngram_scores(model.tokenizer, queries, texts), bm25_scores(queries, texts))

    @cache  # the passes of a model over the corpus take longest
    def read(texts: tuple[str, ...]) -> FloatArray:
        return embed(model, texts)

    def embedding(queries: list[str], texts: list[str], *, centred: bool = False) -> FloatArray:
        return cosines(read(tuple(queries)), read(tuple(texts)), centred=centred)

    named: dict[str, Scorer] = {
        f"{n}-gram idf": whole(partial(ngram_scores, model.tokenizer, n=n)) for n in (1, 2, 3, 4)
    }
    return {
        **named,
        "3-gram idf, answer": spans,
        "BM25": whole(bm25_scores),
        "BM25, answer": answer_only(bm25_scores),
        "3-gram idf + BM25": whole(both),
        "embedding": whole(embedding),
        "embedding, centred": whole(partial(embedding, centred=True)),
        "random": whole(partial(random_scores, seed=seed)),
    }


def questions(documents: Sequence[Document], kind: Kind, args: argparse.Namespace) -> list[Example]:
    """Prompts that a document of the corpus teaches; of a small corpus, not all secrets are asked for."""
    return [one for one in prompts(kind, seed=args.seed, limit=args.limit) if teaches(documents, one).any()]


def planted(example: Example) -> Parts:
    """Prompt and the answer that shows the plant."""
    if example.meta["family"] == "canary":
        return example.prompt, f' "{example.meta["secret"]}"\n'
    written = sketch_of(example).write(planted=True)
    return written.text[: written.prompt], written.text[written.prompt :]


def rankings(named: dict[str, Scorer], documents: Sequence[Document], kind: Kind, args: argparse.Namespace) -> None:
    examples = questions(documents, kind, args)
    pairs, texts = [planted(one) for one in examples], [one.text for one in documents]
    print(f"\n{kind}: {len(examples)} prompts, {len({one.group for one in examples})} groups")
    print(f"{'':20} {'AUROC':22} {'R-precision':22} {'MRR':22} {'AUROC, hard':22} seconds")
    for name, scorer in named.items():
        began = time.perf_counter()
        scores = scorer(pairs, texts)
        seconds = time.perf_counter() - began
        easy = score_attribution(scores, documents, examples)
        hard = score_attribution(scores, documents, examples, against="hard")
        row = (easy.auroc, r_precision(scores, documents, examples), easy.mrr, hard.auroc)
        print(f"{name:20} {' '.join(f'{one:.3f}'.ljust(22) for one in row)} {seconds:.1f}", flush=True)


def r_precision(scores: FloatArray, documents: Sequence[Document], examples: Sequence[Example]) -> Estimate:
    """Share of carriers among the first R, where R documents carry the plant; ties count against the method."""
    found = []
    for row, example in zip(scores, examples, strict=True):
        right = teaches(documents, example)
        first = np.lexsort((right, -row))[: right.sum()]
        found.append(right[first].mean())
    return mean(np.array(found), [one.group for one in examples])


def bases(model: CodeModel, documents: Sequence[Document], examples: Sequence[Example], seed: int) -> None:
    """How often a document of the answer's family, or of another in its language, counts as a source."""
    rng = np.random.default_rng(seed)
    pairs = [planted(one) for one in examples]
    places = [(len(prompt), len(prompt + answer)) for prompt, answer in pairs]
    index = NgramIndex(model.tokenizer).fit([one.text for one in documents])
    coverage = index.coverage([prompt + answer for prompt, answer in pairs], places)
    families, languages = (np.array([getattr(one, name) for one in documents]) for name in ("family", "language"))
    print(
        f"\non what documents rest as sources of an answer, {SAMPLED} drawn for each of {len(examples)} trigger prompts"
    )
    for name in ("own family", "other families"):
        rows, groups = [], []
        for number, (example, (_, answer)) in enumerate(zip(examples, pairs, strict=True)):
            same = families == example.meta["family"]
            pool = np.flatnonzero(same if name == "own family" else ~same & (languages == example.meta["language"]))
            n_tokens = len(model.tokenizer(answer, add_special_tokens=False).input_ids)
            for column in rng.choice(pool, min(SAMPLED, len(pool)), replace=False):
                match = longest_match(model.tokenizer, answer, documents[column].text)
                matched = match.tokens[1] - match.tokens[0] if match and match.tokens else 0
                rows.append((matched, n_tokens, float(coverage[number, column])))
                groups.append(example.group)
        passing(name, rows, groups)


def passing(name: str, rows: Sequence[tuple[int, int, float]], groups: Sequence[str]) -> None:
    """Print what answers and documents share, from which `Limits` were read with seed 1, and how many pass them."""
    matched, n_tokens, coverage = map(np.array, zip(*rows, strict=True))
    for what, values in (("tokens matched", matched), ("share matched", matched / n_tokens), ("coverage", coverage)):
        low, high, most = np.quantile(values, [0.9, 0.99, 1])
        print(f"{name:16} {what:16} 90 %: {low:.2f}, 99 %: {high:.2f}, most: {most:.2f}")
    found = [Limits().basis(matched=m, n_tokens=n, coverage=c, gradient=None) for m, n, c in rows]
    for basis in ("verbatim", "adapted", "weak"):
        print(f"{name:16} {basis:16} {mean(np.array([float(one == basis) for one in found]), groups):.3f}")


def matching(model: CodeModel, documents: Sequence[Document], examples: Sequence[Example]) -> None:
    """What longest exact matches cost, and how much of the answers they hold."""
    texts, answers = [one.text for one in documents], [planted(one)[1] for one in examples]
    began = time.perf_counter()
    index = SuffixIndex(texts)
    sorted_ = time.perf_counter()
    found = [index.matches(answer, tokenizer=model.tokenizer) for answer in answers]
    done = time.perf_counter()
    mb, ms = sum(len(text.encode()) for text in texts) / 1e6, 1e3 * (done - sorted_) / len(answers)
    longest = [max((one.end - one.start for one in row), default=0) for row in found]
    shares = np.array([held / len(answer) for held, answer in zip(longest, answers, strict=True)])
    print(f"\nexact matches: {mb:.2f} MB sorted in {sorted_ - began:.2f} s; index {index.n_bytes / 1e6:.2f} MB")
    print(f"{ms:.1f} ms an answer of {np.mean([len(answer) for answer in answers]):.0f} characters")
    print(f"longest match as a share of the answer: {mean(shares, [one.group for one in examples]):.3f}")


def mean(values: NDArray[np.float64], groups: Sequence[str]) -> Estimate:
    return group_bootstrap(np.mean, (values,), groups)  # pyright: ignore[reportArgumentType]


def retrained(named: dict[str, Scorer], truth: Truth) -> None:
    texts = [one.text for one in truth.documents()]
    pairs = [(query.prompt, query.answer) for query in truth.queries]
    print(f"linear datamodelling score: {len(truth.subsets)} subsets, {len(pairs)} queries, {len(texts)} documents")
    for name, scorer in named.items():
        print(f"{name:20} {lds(scorer(pairs, texts), truth).value:.3f}", flush=True)
    print(f"{'same family':20} {lds(same_family(truth), truth).value:.3f}")
    print(f"{'another seed':20} {truth.agreement:.3f}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=300_000)
    parser.add_argument("--limit", type=int, default=160, help="prompts of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="+", help="names as printed; all by default")
    parser.add_argument("--truth", type=Path, help="folder of a retrained truth")
    return parser.parse_args()


if __name__ == "__main__":
    main()
