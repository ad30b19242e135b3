"""Attribution by gradient on the testbed: who finds the documents that carry a plant, and in them the line that does.

    python -m benchmarks.attribution_plants [--tokens 100000] [--limit 60]

Asked for are answers that show a plant: of training documents themselves (verbatim), about names that no document holds
(trigger), with other comments too (paraphrase). "hard" ranks carriers against documents that look alike. Intervals are
95 % over groups of prompts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from attribution.documents.evidence import z_sum
from attribution.documents.lines import line_scores
from attribution.gradient.encoding import encode, products, width_of
from attribution.gradient.kfac import Curvature
from attribution.gradient.layers import find_layers
from attribution.gradient.losses import Target, answer, contrast, spans, whole
from attribution.gradient.rows import Projector
from attribution.ngrams import NgramIndex
from benchmarks.attribution_text import mean, questions, r_precision
from ellora_trust.loading import load
from ellora_trust.tasks.base import Example
from ellora_trust.testbed.documents import Document, corpus
from ellora_trust.testbed.families import FAMILIES
from ellora_trust.testbed.prompts import question_of, sketch_of
from ellora_trust.testbed.truth import score_attribution

SHARE = 0.1
NARROW = 512
Scores = NDArray[np.floating]


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    plants(args)
    lines(args)


def plants(args: argparse.Namespace) -> None:
    """Print who finds the documents that carry a plant, for the shipped model."""
    model, documents = load("testbed"), corpus(0, n_tokens=args.tokens)
    texts = [whole(model, one.text) for one in documents]
    layers = find_layers(model)
    chosen = np.random.default_rng(args.seed).permutation(len(texts))[: round(SHARE * len(texts))]
    curvature = Curvature.fit(model, layers, [texts[i] for i in chosen], widest=NARROW)
    making = Projector(model, layers, curvature, widths=[width_of("bits", 4096)], seed=args.seed)
    stored = encode(making.rows(texts)[0].numpy(), "bits")
    words = NgramIndex(model.tokenizer).fit([one.text for one in documents])
    for kind in ("verbatim", "trigger", "paraphrase"):
        examples = [one for one in asked_about(documents, kind, args) if one.meta["family"] in FAMILIES]
        print(f"\n{kind}: {len(examples)} prompts, {len(documents)} documents")
        print(f"{'':44} AUROC, R-precision, MRR, hard AUROC")
        both = [[sketch_of(one).write(planted=planted) for one in examples] for planted in (True, False)]
        written = both[0]
        (planted, fixed), places = ([one.text for one in side] for side in both), [one.span for one in written]
        prompts = [one.text[: one.prompt] for one in written]
        targets: dict[str, list[Target]] = {
            "the answer": [answer(model, one, text[len(one) :]) for one, text in zip(prompts, planted, strict=True)],
            "the plant": [spans(model, text, [at] if at else []) for text, at in zip(planted, places, strict=True)],
            "the answer rather than the fix": [
                contrast(model, one, said[len(one) :], foil[len(one) :])
                for one, said, foil in zip(prompts, planted, fixed, strict=True)
            ],
        }
        text = words.score(planted)
        show_plants("3-gram idf", text, documents, examples)
        show_plants("3-gram idf, about the plant", words.score(planted, places), documents, examples)
        show_plants("3-gram idf, answer minus fix", text - words.score(fixed), documents, examples)
        for about, asked in targets.items():
            scores = np.stack([products(stored, row, "bits") for row in making.rows(asked)[0].numpy()])
            show_plants(f"K-FAC, about {about}", scores, documents, examples)
            show_plants("the same + 3-gram idf", z_sum(scores, text), documents, examples)


def asked_about(documents: Sequence[Document], kind: str, args: argparse.Namespace) -> list[Example]:
    """Questions that carriers answer word by word, or others with names or comments that no document holds."""
    if kind != "verbatim":
        return questions(documents, kind, args)  # pyright: ignore[reportArgumentType]  # the other two are kinds
    carriers = [one for one in documents if one.plant and one.family in FAMILIES]
    drawn = np.random.default_rng(args.seed).permutation(len(carriers))[: args.limit]
    return [question_of(carriers[i]) for i in sorted(drawn)]


def lines(args: argparse.Namespace) -> None:
    """Print in how many carriers the line that is named first is the one that holds the plant."""
    model, documents = load("testbed"), corpus(0, n_tokens=args.tokens)
    layers, texts = find_layers(model), [whole(model, one.text) for one in documents]
    curvature = Curvature.fit(model, layers, texts[:: round(1 / SHARE)], widest=NARROW)
    making = Projector(model, layers, curvature, seed=args.seed)
    rng, found, families = np.random.default_rng(args.seed), [], []
    for example in questions(documents, "trigger", args):
        if example.meta["family"] not in FAMILIES:
            continue
        said, fixed = (sketch_of(example).write(planted=planted) for planted in (True, False))
        prompt = said.text[: said.prompt]
        asked = {
            "about the plant": spans(model, said.text, [said.span] if said.span else []),
            "rather than the fix": contrast(model, prompt, said.text[len(prompt) :], fixed.text[len(prompt) :]),
        }
        carriers = [one for one in documents if one.plant == example.meta["plant"] and one.family in FAMILIES]
        document = carriers[int(rng.integers(len(carriers)))]
        holds = held_line(document)
        rows = making.numbers(list(asked.values()))
        ranked = [int(np.argmax(line_scores(making, row, document.text))) == holds for row in rows]
        found.append([*ranked, 1 / len(document.text.splitlines())])
        families.append(example.group)
    print(f"\nthe line named first holds the plant, {len(found)} questions, a carrier each")
    for name, column in zip([*asked, "a line at random"], np.array(found, dtype=float).T, strict=True):
        print(f"{name:24} {mean(column, families):.3f}", flush=True)


def held_line(document: Document) -> int:
    """The line of a carrier in which the plant begins, from 0."""
    written = sketch_of(question_of(document)).write(planted=True)
    assert written.text == document.text, "a question is drawn as its document was"
    assert written.span, "a carrier shows its plant"
    return document.text[: written.span[0]].count("\n")


def show_plants(name: str, given: Scores, documents: Sequence[Document], examples: Sequence[Example]) -> None:
    scores = given.astype(np.float64)
    easy, hard = (score_attribution(scores, documents, examples, against=how) for how in ("all", "hard"))
    row = (easy.auroc, r_precision(scores, documents, examples), easy.mrr, hard.auroc)
    print(f"{name:44} {'  '.join(f'{one:.3f}' for one in row)}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
