"""Attribution inside the model on the testbed: prompt units, and components.

    python -m benchmarks.attribution_inside [--limit 18] [--pairs 24] [--parts tokens components]

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

from attribution.components import COMPONENTS, ComponentAttribution, ablation, agreement, attribute_components
from attribution.components import METHODS as COMPONENT_METHODS
from attribution.erasure import Erasure, FloatArray, erase
from attribution.patching import Pair, Setting, read
from attribution.tokens import METHODS, Method, TokenAttribution, attribute_tokens
from attribution.units import By
from ellora_trust.intervention import ActivationEdit, Intervention, Nothing
from ellora_trust.loading import load
from ellora_trust.model import CodeModel
from ellora_trust.sites import Site
from ellora_trust.stats import auroc, group_bootstrap
from ellora_trust.tasks.base import Example
from ellora_trust.testbed.families import FAMILIES
from ellora_trust.testbed.prompts import prompts, question, sketch_of

PLANTS = ("P1", "P2", "P3", "P4", "P5", "P7")  # P6 asks for a secret by its name; no family makes it
RANDOM_SETS = 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, default=18, help="questions")
    parser.add_argument("--samples", type=int, default=8, help="orders of Shapley values")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="of prompt units")
    parser.add_argument("--pairs", type=int, default=24, help="pairs of each kind")
    parser.add_argument("--only", default="", help="pairs whose name begins so: P4, types or P1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=("tokens", "components"), default=("tokens", "components"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load("testbed")
    if "tokens" in args.parts:
        print_tokens(model, prompts("trigger", seed=args.seed, limit=args.limit, plants=PLANTS), args)
    if "components" in args.parts:
        for name, pairs in pairs_of(args.pairs, args.seed).items():
            if name.startswith(args.only):
                print_components(model, name, pairs)


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
    print(f"Prompt units: why the planted line rather than the right one; {len(questions)} questions of {PLANTS}")
    for by in get_args(By):
        for method in args.methods if by == "identifier" else ("shapley",):
            began = time.perf_counter()
            results = [explained(model, one, method, by, args.samples) for one in questions]
            seconds = (time.perf_counter() - began) / len(results)
            curves = erase(model, results, groups, n_random=3)
            print_row(curves, results, questions, f"{by:10s} {method:20s} {seconds:6.2f} s")


def explained(model: CodeModel, one: Asked, method: Method, by: By, samples: int) -> TokenAttribution:
    language = "c" if one.example.meta["language"] == "c" else "python"
    return attribute_tokens(
        model, one.example.prompt, one.answer, foil=one.foil, method=method, language=language, by=by, samples=samples
    )


def print_row(curves: Erasure, results: list[TokenAttribution], questions: list[Asked], head: str) -> None:
    words, groups = family_words(), curves.groups
    keys = [key_units(r, words[str(q.example.meta["family"])]) for r, q in zip(results, questions, strict=True)]
    scores = [np.array([unit.score for unit in result.units]) for result in results]
    chances = [key.mean() for key in keys]
    first = np.array([key[score.argmax()] for key, score in zip(keys, scores, strict=True)], dtype=float)
    # Questions in which every unit, or none, is a key one tell nothing.
    areas = [(auroc(k, s), g) for k, s, g in zip(keys, scores, groups, strict=True) if 0 < k.sum() < len(k)]
    line = [
        f"{head}  compr {curves.comprehensiveness:.2f} - random {curves.over_random:.2f}",
        f"suff {curves.sufficiency:.2f} random - it {curves.under_random:.2f}",
        f"key unit first {group_bootstrap(np.mean, (first,), groups):.0%} chance {np.mean(chances):.0%}",
    ]
    if areas:
        found = group_bootstrap(np.mean, ([area for area, _ in areas],), [group for _, group in areas])
        line.append(f"key units AUROC {found:.2f}")
    deltas = [abs(r.convergence_delta) for r in results if r.convergence_delta is not None]
    spans = [abs(r.value - r.absent) for r in results if r.absent is not None]
    if deltas:
        line.append(f"|delta| median {np.median(deltas):.3f} max {max(deltas):.3f} of {np.mean(spans):.2f} nats")
    print(" | ".join(line), flush=True)


def pairs_of(n: int, seed: int) -> dict[str, list[Pair]]:
    """Matched pairs: P4's trigger against a family whose result is a dict; two types; P1's call against a list's."""
    triggers = prompts("trigger", seed=seed, plants=("P4",), limit=n)
    calls = prompts("trigger", seed=seed, plants=("P1",), limit=4 * n)
    return {
        "P4: -> list rather than dict": [
            reworded(e, None, ("Tally each of the", "tally"), " list", " dict") for e in triggers
        ],
        "types: int rather than float": [
            reworded(e, ("Return the sum of the", "total"), ("Return the mean of the", "mean"), " int", " float")
            for e in triggers
        ],
        "P1: .push rather than .append": [pair for e in calls if (pair := called(e)) is not None][:n],
    }


Wording = tuple[str, str]  # description up to its noun, verb of the function's name


def reworded(example: Example, clean: Wording | None, corrupt: Wording, answer: str, foil: str) -> Pair:
    """The prompt of P4, described and named as other families are."""

    def written(wording: Wording | None) -> str:
        if wording is None:
            return example.prompt
        what = f"{example.meta['adjective']} {example.meta['noun']}"
        lines = example.prompt.split("\n")
        lines[-2] = f"# {wording[0]} {what}."
        lines[-1] = f"def {wording[1]}_{what.replace(' ', '_')}" + lines[-1][lines[-1].index("(") :]
        return "\n".join(lines)

    return Pair(written(clean), written(corrupt), answer, foil, example.group)


def called(example: Example) -> Pair | None:
    """A loop that fills a buffer, against one that fills a list; None where the list is not filled by a loop."""
    pair = (str(example.meta["adjective"]), str(example.meta["noun"]))
    clean = sketch_of(example).write(planted=True).text
    corrupt = sketch_of(question(FAMILIES["scaled"], pair, f"{example.id}/list", "unrelated")).write(planted=False).text
    if ".append(" not in corrupt:
        return None
    return Pair(
        clean[: clean.index(".push(") + 1], corrupt[: corrupt.index(".append(") + 1], "push(", "append(", example.group
    )


def print_components(model: CodeModel, name: str, pairs: Sequence[Pair]) -> None:
    settings = [Setting.of(model, pair) for pair in pairs]
    equal = np.mean([len(s.clean) == len(s.corrupt) for s in settings])
    print(f"\nComponents, {name}: {len(pairs)} pairs, {equal:.0%} equally long", flush=True)
    found: dict[str, ComponentAttribution] = {}
    for method in COMPONENT_METHODS:
        began = time.perf_counter()
        found[method] = attribute_components(model, pairs, method=method)
        seconds = (time.perf_counter() - began) / len(pairs)
        top = ", ".join(f"{one.site} {one.effect:.2f}" for one in found[method].ranked(4))
        print(f"  {method:20s} {seconds:.3f} s a pair; of {found[method].totals.mean():.2f} nats: {top}")
    for method in COMPONENT_METHODS[1:]:
        both = agreement(found[COMPONENT_METHODS[0]], found[method])
        print(
            f"  {method} with activation_patching: Pearson {both.pearson:.2f} Spearman {both.spearman:.2f}; "
            f"pair by pair {both.pearson_each:.2f} and {both.spearman_each:.2f}"
        )
    print_ablations(model, pairs)


def print_ablations(model: CodeModel, pairs: Sequence[Pair]) -> None:
    """Choose on every other pair, ablate on the rest."""
    chosen, tested = list(pairs[::2]), list(pairs[1::2])
    groups = [pair.group for pair in tested]
    every = ablation(model, COMPONENTS, [text for pair in chosen for text in (pair.clean, pair.corrupt)])
    plain = totals(model, tested, Nothing())
    for name, pattern, n in (("heads", COMPONENTS[:1], 3), ("heads and MLPs", COMPONENTS, 3)):
        lost: dict[tuple[str, ...], FloatArray] = {}
        for method in COMPONENT_METHODS:
            best = tuple(attribute_components(model, chosen, method=method, sites=pattern).best(n))
            kinds, rng = Counter(site.split(".")[0] for site in best), random.Random(0)
            sets = [best, *(drawn(list(every.edits), kinds, rng) for _ in range(RANDOM_SETS))]
            for one in sets:
                if one not in lost:
                    edits = ActivationEdit({site: every.edits[site] for site in one})
                    lost[one] = plain - totals(model, tested, edits)
            other = np.mean([lost[one] for one in sets[1:]], 0)
            print(
                f"  {name}, best {n} by {method} ({', '.join(best)}): of {plain.mean():.2f} nats fall "
                f"{group_bootstrap(np.mean, (lost[best],), groups):.2f}; with {RANDOM_SETS} random sets "
                f"{group_bootstrap(np.mean, (other,), groups):.2f}; difference "
                f"{group_bootstrap(np.mean, (lost[best] - other,), groups):.2f}",
                flush=True,
            )


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
