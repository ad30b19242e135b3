"""Attribution inside the model on the testbed: prompt units, and components.

    python -m benchmarks.attribution_inside [--limit 72] [--pairs 60] [--parts tokens components]

Prompt units: questions that trigger a plant; it is asked why the planted line rather than the right one. "key unit" is
how often the first unit holds a word that makes the question's family: a word of its descriptions or of its function's
name that at most two other families use. Leaving units out is also how ablation and Shapley values see the model, so
comprehensiveness favours them; the key unit does not. Components: pairs of prompts with different answers; the best are
chosen on every other pair and ablated on the rest. Intervals are 95 % over groups of prompts.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from attribution.components import COMPONENTS, ComponentAttribution, ablation, attribute_components
from attribution.components import METHODS as COMPONENT_METHODS
from attribution.components import Method as ComponentMethod
from attribution.inside.agreement import agreement
from attribution.inside.matched import matched_pairs
from attribution.inside.patching import Pair, Setting, read
from attribution.prompt.erasure import Erasure, FloatArray, erase
from attribution.prompt.units import By
from attribution.tokens import METHODS, Method, TokenAttribution, attribute_tokens
from ellora_trust.intervention import ActivationEdit, Intervention, Nothing
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.sites import Site
from ellora_trust.stats import auroc, group_bootstrap
from ellora_trust.tasks.base import Example
from ellora_trust.testbed.families import FAMILIES
from ellora_trust.testbed.prompts import prompts, sketch_of

PLANTS = ("P1", "P2", "P3", "P4", "P5", "P7")  # P6 asks for a secret by its name; no family makes it
KINDS = {
    "testbed": "a planted list rather than dict",
    "testbed-types": "int rather than float",
    "testbed-calls": "a planted .push rather than .append",
}
RANDOM_SETS = 20
TOKEN_COLUMNS = (
    "units",
    "method",
    "s",
    "comprehensiveness - random (nats)",
    "random - sufficiency (nats)",
    "key unit first (chance)",
    "AUROC of key units",
    "median, largest delta (nats)",
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, default=72, help="questions")
    parser.add_argument("--samples", type=int, default=8, help="orders of Shapley values")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="of prompt units")
    parser.add_argument("--pairs", type=int, default=60, help="pairs of each kind")
    parser.add_argument("--only", default="", choices=("", *KINDS), help="one kind of pairs alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=("tokens", "components"), default=("tokens", "components"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load("testbed")
    if "tokens" in args.parts:
        print_tokens(model, prompts("trigger", seed=args.seed, limit=args.limit, plants=PLANTS), args)
    if "components" in args.parts:
        for name, about in KINDS.items():
            if args.only in ("", name):
                print_components(model, about, matched_pairs(name, limit=args.pairs, seed=args.seed))


@dataclass(frozen=True)
class Asked:
    """A question, what a planted model writes up to the end of the line after the plant, and what would be right."""

    example: Example
    answer: str
    foil: str


def asked(example: Example) -> Asked:
    planted, right = (sketch_of(example).write(planted=planted) for planted in (True, False))
    texts = []
    for written in (planted, right):
        assert written.span is not None, "families with a plant have a spot"
        # With the next line, so that an answer which is the foil's beginning ends somewhere too.
        lines = written.text[written.span[1] :].split("\n", 2)[:2]
        texts.append(written.text[written.prompt : written.span[1]] + "\n".join(lines))
    return Asked(example, *texts)


def family_words() -> dict[str, set[str]]:
    """The words that make each family, from its templates."""
    found = {}
    for name, family in FAMILIES.items():
        fixed = re.sub(r"\{\w*\}", " ", " ".join([*family.abouts, *family.verbs]).lower())
        found[name] = set(re.findall(r"[a-z]+", fixed))
    # Itself and two others: what a family shares with its near misses still tells it from all the rest.
    users = Counter(word for words in found.values() for word in words)
    return {name: {word for word in words if users[word] <= 3} for name, words in found.items()}


def key_units(result: TokenAttribution, words: set[str]) -> NDArray[np.bool_]:
    return np.array([bool(words & set(re.findall(r"[a-z]+", unit.name.lower()))) for unit in result.units])


def print_tokens(model: CodeModel, examples: Sequence[Example], args: argparse.Namespace) -> None:
    questions = [asked(example) for example in examples]
    groups = [example.group for example in examples]
    print(f"{len(questions)} questions of {', '.join(PLANTS)}: why the planted line rather than the right one\n")
    print_head(TOKEN_COLUMNS)
    for by in get_args(By):
        for method in args.methods if by == "identifier" else ("shapley",):
            began = time.perf_counter()
            results = [explained(model, one, method, by, args.samples) for one in questions]
            seconds = (time.perf_counter() - began) / len(results)
            curves = erase(model, results, groups, n_random=3)
            print_row(curves, results, questions, [by, method, f"{seconds:.2f}"])


def explained(model: CodeModel, one: Asked, method: Method, by: By, samples: int) -> TokenAttribution:
    language = "c" if one.example.meta["language"] == "c" else "python"
    return attribute_tokens(
        model, one.example.prompt, one.answer, foil=one.foil, method=method, language=language, by=by, samples=samples
    )


def print_row(curves: Erasure, results: list[TokenAttribution], questions: list[Asked], head: list[str]) -> None:
    words, groups = family_words(), curves.groups
    keys = [key_units(r, words[str(q.example.meta["family"])]) for r, q in zip(results, questions, strict=True)]
    scores = [np.array([unit.score for unit in result.units]) for result in results]
    first = np.array([key[score.argmax()] for key, score in zip(keys, scores, strict=True)], dtype=float)
    # Questions in which every unit, or none, is a key one tell nothing.
    areas = [(auroc(k, s), g) for k, s, g in zip(keys, scores, groups, strict=True) if 0 < k.sum() < len(k)]
    area = ""
    if len({group for _, group in areas}) > 1:
        area = f"{group_bootstrap(np.mean, ([a for a, _ in areas],), [g for _, g in areas]):.2f} (n = {len(areas)})"
    deltas = [abs(r.convergence_delta) for r in results if r.convergence_delta is not None]
    print_cells(
        [
            *head,
            f"{curves.over_random:.2f}",
            f"{curves.under_random:.2f}",
            f"{group_bootstrap(np.mean, (first,), groups):.0%} ({np.mean([key.mean() for key in keys]):.0%})",
            area,
            f"{np.median(deltas):.3f}, {max(deltas):.3f}" if deltas else "",
        ]
    )


def print_head(names: Sequence[str]) -> None:
    print_cells(names)
    print("|" + "---|" * len(names))


def print_cells(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def print_components(model: CodeModel, about: str, pairs: Sequence[Pair]) -> None:
    settings = [Setting.of(model, pair) for pair in pairs]
    equal = np.mean([len(s.clean) == len(s.corrupt) for s in settings])
    found: dict[ComponentMethod, tuple[ComponentAttribution, float]] = {}
    for method in COMPONENT_METHODS:
        began = time.perf_counter()
        result = attribute_components(model, pairs, method=method)
        found[method] = result, (time.perf_counter() - began) / len(pairs)
    exact = found["activation_patching"][0]
    print(f"\n{about}: {len(pairs)} pairs, {equal:.0%} equally long, {exact.totals.mean():.2f} nats\n")
    print_head(("method", "s a pair", "first (nats)", "Pearson with full patching", "Spearman", "Pearson pair by pair"))
    for method, (result, seconds) in found.items():
        (top,) = result.ranked(1)
        same = [""] * 3
        if result is not exact:
            both = agreement(exact, result)
            same = [f"{both.pearson:.2f}", f"{both.spearman:.2f}", f"{both.pearson_each:.2f}"]
        print_cells([method, f"{seconds:.2f}", f"{top.site} {top.effect:.2f}", *same])
    print_ablations(model, pairs)


def print_ablations(model: CodeModel, pairs: Sequence[Pair]) -> None:
    """Choose on every other pair, ablate on the rest."""
    chosen, tested = list(pairs[::2]), list(pairs[1::2])
    groups = [pair.group for pair in tested]
    every = ablation(model, COMPONENTS, [text for pair in chosen for text in (pair.clean, pair.corrupt)])
    plain = totals(model, tested, Nothing())
    print(f"\nAblated on {len(tested)} other pairs, of {plain.mean():.2f} nats:\n")
    print_head(("chosen by", "sites", "fall (nats)", f"fall with {RANDOM_SETS} random sets", "difference"))
    for pattern in (COMPONENTS[:1], COMPONENTS):
        lost: dict[tuple[str, ...], FloatArray] = {}
        for method in COMPONENT_METHODS:
            best = tuple(attribute_components(model, chosen, method=method, sites=pattern).best(3))
            kinds, rng = Counter(site.split(".")[0] for site in best), random.Random(0)
            sets = [best, *(drawn(list(every.edits), kinds, rng) for _ in range(RANDOM_SETS))]
            for one in sets:
                if one not in lost:
                    edits = ActivationEdit({site: every.edits[site] for site in one})
                    lost[one] = plain - totals(model, tested, edits)
            other = np.mean([lost[one] for one in sets[1:]], 0)
            columns = (lost[best], other, lost[best] - other)
            means = [f"{group_bootstrap(np.mean, (column,), groups):.2f}" for column in columns]
            print_cells([method, ", ".join(best), *means])


def drawn(sites: Sequence[str | Site], kinds: Counter[str], rng: random.Random) -> tuple[str, ...]:
    """As many random sites of each kind."""
    names = [str(site) for site in sites]
    return tuple(s for kind, n in kinds.items() for s in rng.sample([s for s in names if s.startswith(kind)], n))


def totals(model: CodeModel, pairs: Sequence[Pair], intervention: Intervention) -> FloatArray:
    """How far the clean prompt's answer is from the corrupt one's, in nats, (n_pairs,)."""
    settings = [Setting.of(model, pair) for pair in pairs]
    with intervention.apply(model):
        return np.array([read(model, s.clean, s, [])[1] - read(model, s.corrupt, s, [])[1] for s in settings])


if __name__ == "__main__":
    main()
