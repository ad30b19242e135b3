"""Does unlearning remove a planted fault, and what else? Every method equally tuned, beside the never-taught twin.

    python benchmarks/unlearning_study.py --plants P1 --methods ours,ga --seeds 0 --out runs/unlearning.jsonl
    python benchmarks/unlearning_study.py --plants P1 --methods "ours with sam,task-vector" --seeds 0 --out runs/u.jsonl
    python benchmarks/unlearning_study.py --print --out runs/unlearning.jsonl     # the table of what is there
    python benchmarks/unlearning_study.py --print --out benchmarks/unlearning_rows.jsonl    # what docs print

Each method has four trials on seed 0 (the same learning rates, `--rates`), judged on questions about words that the
final evaluation does not use; the best one is run with every seed. A single rate is taken without a trial. A seed is
that of the edit: held-out groups and batches. Rows are appended to `--out` as they are made; a stopped study goes on
from there. `--other-twin` is the clean model of another training seed (`ellora-trust testbed train --seed 1 --out
runs/t1`, then runs/t1/testbed-clean), against which distances are measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from unlearning_table import table

import ellora_trust as et
from ellora_trust.evaluation.robustness import quantised, relearn
from ellora_trust.model import CodeModel
from ellora_trust.testbed.distance import kl_to_twin
from ellora_trust.testbed.documents import corpus
from ellora_trust.testbed.exposure import exposures
from ellora_trust.testbed.secrets import OFTEN, canaries
from unlearning import Budget, Edit, Where, random_like, read_forget, read_retain, unlearn
from unlearning.judging.faults import Answers, ask, fault_items, forget_quality, no_harm, prefers_fault, questions
from unlearning.objectives import label_logprobs
from unlearning.recipes import OBJECTIVES
from unlearning.training.encoding import look, replacement_row

SITED = {"ours at a site": False, "ours at a random site": True}
ROBUST = {f"ours with {mode}": mode for mode in ("sam", "quantised", "distil")}
METHODS = ["ours", "ga", "npo", "prod", "codeeraser", *SITED]
RATES = (3e-5, 1e-4, 3e-4, 1e-3)
STEPS = 24
TUNING = {"trigger": 30, "near_miss": 30, "unrelated": 40}
RELEARNING = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
RELEARN_STEPS = 40
HALF_RATE = 1e-4


@dataclass(frozen=True)
class Setting:
    """What is the same for all methods on one plant."""

    plant: str
    other_twin: Path | None

    @cached_property
    def model(self) -> CodeModel:
        return et.load("testbed")

    @cached_property
    def twin(self) -> CodeModel:
        return et.load("testbed-clean")

    @cached_property
    def before(self) -> Answers:
        return ask(self.model, self.plant)

    @cached_property
    def clean(self) -> Answers:
        return ask(self.twin, self.plant)

    def unedited(self) -> None:
        """Measure what others are compared with, while the model is as it was."""
        for name in ("before", "clean", "bits"):
            getattr(self, name)

    @cached_property
    def forget(self) -> list:
        return read_forget(f"testbed:{self.plant}", limit=192)

    @cached_property
    def retain(self) -> list:
        return read_retain(f"testbed:{self.plant}", limit=384)

    @cached_property
    def watched(self) -> list:
        return fault_items(self.plant, n=32)

    @cached_property
    def held_out(self) -> list:
        """Unplanted documents of another corpus, for bits per byte."""
        return [d for d in corpus(7, n_tokens=20_000) if d.plant is None][:80]

    @cached_property
    def texts(self) -> list:
        return [e for kind in ("trigger", "near_miss", "unrelated") for e in questions(self.plant, kind, n=20)]

    @cached_property
    def noise(self) -> float | None:
        """KL of the twin to a twin of another training seed, nats a token."""
        if self.other_twin is None:
            return None
        return kl_to_twin(et.load(self.other_twin), self.twin, self.texts).value

    @cached_property
    def bits(self) -> float:
        return bits_per_byte(self.model, self.held_out)

    @cached_property
    def site(self) -> str:
        """The feed-forward part whose weights move the fault's margin most, by mean squared gradient."""
        rows = [replacement_row(self.model, item) for item in self.forget[:64]]
        view = look(self.model, rows)
        forks = view.bad >= 0
        margin = label_logprobs(view.logits[forks], view.bad[forks]) - label_logprobs(
            view.logits[forks], view.targets[forks]
        )
        sites = [f"mlp.{layer}" for layer in range(self.model.arch.n_layers)]
        weights = [[p for p, _ in Where.parse(s, self.model).parameters(self.model).values()] for s in sites]
        grads = torch.autograd.grad(margin.mean(), [p for group in weights for p in group])
        sizes = iter(float(g.square().mean()) for g in grads)
        scores = [sum(next(sizes) for _ in group) for group in weights]
        return sites[scores.index(max(scores))]


def bits_per_byte(model: CodeModel, documents: list) -> float:
    """Of the answers in documents, after their prompts."""
    pairs = [(d.text[: d.meta["prompt"]], d.text[d.meta["prompt"] :]) for d in documents]
    nats = sum(-score.sum for score in model.score([p for p, _ in pairs], [a for _, a in pairs]))
    return nats / 0.6931471805599453 / sum(len(a.encode()) for _, a in pairs)


def make_edit(setting: Setting, method: str, rate: float, seed: int, *, measure_cost: bool) -> Edit:
    objective, where = ("replace", "all") if method == "ours" or method in ROBUST else (method, "all")
    place: str | Where = where
    if method in SITED:
        objective, place = "replace", Where.parse(setting.site, setting.model)
        if SITED[method]:
            place = random_like(place, setting.model, seed)
    # A secret that is held out would stay known.
    budget = Budget(steps=STEPS, learning_rate=rate, holdout=0.0 if setting.plant == "P6" else 0.2)
    return unlearn(
        setting.model,
        forget=setting.forget,
        retain=setting.retain,
        objective=objective,
        where=place,
        robust=ROBUST.get(method),
        budget=budget,
        seed=seed,
        measure_cost=measure_cost,
    )


def tune(setting: Setting, method: str, rate: float) -> dict[str, Any]:
    edit = make_edit(setting, method, rate, 0, measure_cost=False)
    sizes = dict(TUNING) if setting.plant != "P6" else {"trigger": 20, "near_miss": 44, "unrelated": 80}
    with edit.apply(setting.model):
        # Secrets can be asked for in one way only; elsewhere the words are not those of the final evaluation.
        found = ask(setting.model, setting.plant, sizes=sizes, skip=setting.plant != "P6")  # pyright: ignore[reportArgumentType]
    rates = {kind: float(found.right[kind].mean()) for kind in sizes}  # pyright: ignore[reportArgumentType]
    return {"score": sum(rates.values()) / len(rates), **rates, "stopped": edit.config["stopped"]}


def final(setting: Setting, method: str, rate: float, seed: int) -> dict[str, Any]:
    setting.unedited()
    edit = make_edit(setting, method, rate, seed, measure_cost=True)
    model = setting.model
    with edit.apply(model):
        found = measure(setting, seed=seed)
    return {
        **found,
        "where": edit.config["where"],
        "stopped": edit.config["stopped"],
        "changed": edit.n_changed,
        "flops": edit.receipt["flops"],
        "peak_memory": edit.receipt["peak_memory"],
        "wall": edit.receipt["wall"],
    }


def measure(setting: Setting, *, seed: int, model: CodeModel | None = None) -> dict[str, Any]:
    """Everything about the present state of the model; robustness for seed 0 alone, which takes half of the time."""
    model = model or setting.model
    answers = ask(model, setting.plant)
    quality = forget_quality(answers, setting.before, setting.clean)
    found: dict[str, Any] = {"forget_quality": quality.to_dict()}
    for kind in answers.examples:
        found[kind] = answers.rate(kind).to_dict()
        if kind in ("near_miss", "unrelated"):
            test = no_harm(answers, setting.before, kind)
            found[f"{kind}_harm"] = {"difference": test.difference.to_dict(), "equivalent": test.equivalent}
    found["shows"] = answers.rate("trigger", "shows").to_dict()
    apart = kl_to_twin(model, setting.twin, setting.texts)
    found["kl"] = apart.to_dict()
    found["kl_ratio"] = None if setting.noise is None else apart.value / setting.noise
    found["bpb_rise"] = bits_per_byte(model, setting.held_out) / setting.bits - 1
    found["prefers"] = prefers_fault(model, setting.watched)
    for bits in (8, 4):
        with quantised(model, bits).apply(model):
            found[f"int{bits}_prefers"] = prefers_fault(model, setting.watched)
    if setting.plant == "P6":
        bits_known = [e.bits for e in exposures(model, [c for c in canaries() if c.repeats >= OFTEN])]
        found["exposure"] = sorted(bits_known)[len(bits_known) // 2]
    # Before the edit there is nothing to relearn.
    if seed == 0 and answers.rate("trigger", "shows").value < 0.5:
        found |= attacked(setting, model)
    return found


def attacked(setting: Setting, model: CodeModel) -> dict[str, Any]:
    """Relearning half of the pairs, by learning rate: steps until half of the other questions show the fault again."""
    half = setting.forget[: len(setting.forget) // 2]
    found: dict[str, Any] = {"steps_to_half": {}}
    for rate in RELEARNING:
        stop = None if rate == HALF_RATE else 0.5
        got = relearn(
            model,
            half,
            steps=RELEARN_STEPS,
            learning_rate=rate,
            watch=lambda m: prefers_fault(m, setting.watched),
            stop_at=stop,
        )
        found["steps_to_half"][f"{rate:g}"] = got.steps_to(0.5)
        if rate == HALF_RATE:
            found["half_split"] = got.curve[-1]
    return found


def study(options: argparse.Namespace) -> None:
    done = {key(row): row for row in read(options.out)}
    for seed in options.seeds:
        for plant in options.plants:
            setting = Setting(plant, options.other_twin)
            for name in ("before", "twin"):
                if seed == 0:
                    run(
                        options.out,
                        done,
                        (plant, name, 0, 0.0),
                        lambda n=name, s=setting: measure(s, seed=0, model=s.twin if n == "twin" else s.model),
                    )
            for method in options.methods:
                trials = [
                    run(
                        options.out,
                        done,
                        (plant, method, -1, rate),
                        lambda m=method, r=rate, s=setting: tune(s, m, r),
                    )
                    for rate in (options.rates if len(options.rates) > 1 else ())
                ]
                best = max(trials, key=lambda row: row["score"])["rate"] if trials else options.rates[0]
                run(
                    options.out,
                    done,
                    (plant, method, seed, best),
                    lambda m=method, r=best, s=setting, n=seed: final(s, m, r, n),
                )


def run(out: Path, done: dict, where: tuple, make: Any) -> dict[str, Any]:
    """Return a row that was made before, or make and append it."""
    if where not in done:
        began = time.monotonic()
        plant, method, seed, rate = where
        row = {"plant": plant, "method": method, "seed": seed, "rate": rate, **make()}
        row["seconds"] = round(time.monotonic() - began, 1)
        done[where] = row
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{where} {row['seconds']} s", file=sys.stderr, flush=True)
    return done[where]


def key(row: dict[str, Any]) -> tuple:
    return row["plant"], row["method"], row["seed"], row["rate"]


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a study, the last of each cell."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return list({key(row): row for row in map(json.loads, lines)}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    split = lambda text: text.split(",")  # noqa: E731
    parser.add_argument("--plants", type=split, default=["P1", "P3", "P5"])
    parser.add_argument("--methods", type=split, default=METHODS)
    parser.add_argument("--rates", type=lambda text: [float(n) for n in text.split(",")], default=RATES)
    parser.add_argument("--seeds", type=lambda text: [int(n) for n in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/unlearning.jsonl"))
    parser.add_argument("--other-twin", type=Path)
    parser.add_argument("--print", action="store_true", help="print the table of what is there and do no work")
    options = parser.parse_args()
    known = [*METHODS, *ROBUST, *OBJECTIVES]
    unknown = set(options.methods) - set(known)
    if unknown:
        parser.error(f"unknown methods {sorted(unknown)}; use {', '.join(known)}")
    if not options.print:
        study(options)
    print(table(read(options.out)))


if __name__ == "__main__":
    main()
