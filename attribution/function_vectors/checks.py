"""Task vectors on prompts they were not fitted on: who tells the task, and whether a vector makes the model do it.

    told = identification(model, vectors, drawn)          # accuracy of the heads, of a bag of words, of the last layer
    done = causal_check(model, vectors, source, queries)  # rate without, with, with random, with another task's vector

Every method of identification is fitted on the same prompts. Random directions have the vector's length.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attribution.function_vectors.adding import answers_after
from attribution.function_vectors.heads import head_outputs, head_sites
from attribution.function_vectors.queries import Drawn, Query, Source
from attribution.function_vectors.readout import Readout, bag_of_words, nearest_mean
from attribution.tasks import TaskVectors
from ellora_trust.errors import InputError
from ellora_trust.hooks import capture
from ellora_trust.sites import Site
from ellora_trust.stats import Estimate, wilson

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

OURS = "chosen heads"
NEUTRAL, OWN, RANDOM = "neutral prompt", "neutral prompt, task's vector", "neutral prompt, random vector"
CONDITIONS = ("prompt that tells it", NEUTRAL, OWN, RANDOM, "neutral prompt, another task's vector")


@dataclass(frozen=True)
class Told:
    """How often one method names the right task.

    Attributes:
        held: How the prompts differ from those fitted on.
        method: What reads the task.
        accuracy: Share of prompts, one a group, with Wilson's interval.
    """

    held: str
    method: str
    accuracy: Estimate

    def to_dict(self) -> dict[str, Any]:
        return {"held": self.held, "method": self.method, "accuracy": self.accuracy.to_dict()}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Told:
        return cls(saved["held"], saved["method"], Estimate(**saved["accuracy"]))


@dataclass(frozen=True)
class Done:
    """How often the model does the task under one condition.

    Attributes:
        condition: One of `CONDITIONS`.
        rate: Share of queries, one a group, with Wilson's interval.
        by_task: The same of each task.
    """

    condition: str
    rate: Estimate
    by_task: dict[str, Estimate]

    def to_dict(self) -> dict[str, Any]:
        by_task = {task: rate.to_dict() for task, rate in self.by_task.items()}
        return {"condition": self.condition, "rate": self.rate.to_dict(), "by_task": by_task}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Done:
        by_task = {task: Estimate(**rate) for task, rate in saved["by_task"].items()}
        return cls(saved["condition"], Estimate(**saved["rate"]), by_task)


def identification(model: CodeModel, vectors: TaskVectors, drawn: Drawn, *, seed: int = 0) -> list[Told]:
    """Return the accuracy of each method on each kind of held-out prompts.

    Args:
        model: The model.
        vectors: Fitted on `drawn.fit`.
        drawn: The prompts.
        seed: Of the heads that are drawn at random beside the chosen ones.

    Raises:
        InputError: More than half of the heads were chosen.
    """
    sites = head_sites(model)
    if 2 * len(vectors.heads) > len(sites):
        raise InputError(
            f"{len(vectors.heads)} of {len(sites)} heads were chosen, so there are no {len(vectors.heads)} others to "
            f"compare them with; use n_heads of {len(sites) // 2} or less"
        )
    chosen = [[str(site) for site in sites].index(name) for name in vectors.heads]
    others = random.Random(seed).sample([n for n in range(len(sites)) if n not in chosen], len(chosen))
    last = f"resid.{model.arch.n_layers - 1}"
    tasks, groups = [q.task for q in drawn.fit], [q.group for q in drawn.fit]
    heads, stream = _features(model, drawn.fit, sites, last)
    at_random = Readout.fit(heads[:, others].flatten(1), tasks, groups)
    of_last = Readout.fit(stream, tasks, groups)
    words = bag_of_words([q.prompt for q in drawn.fit], tasks, groups)
    found = []
    for held, queries in drawn.held.items():
        heads, stream = _features(model, queries, sites, last)
        ours = heads[:, chosen].flatten(1)
        said = {
            OURS: vectors.readout.predict(ours),
            "chosen heads, nearest mean": nearest_mean(vectors.means.flatten(1), vectors.tasks, ours),
            "as many random heads": at_random.predict(heads[:, others].flatten(1)),
            "last layer": of_last.predict(stream),
            "bag of words": list(words.predict([q.prompt for q in queries])),
        }
        right = [query.task for query in queries]
        for method, names in said.items():
            n_right = sum(a == b for a, b in zip(names, right, strict=True))
            found.append(Told(held, method, wilson(n_right, len(right))))
    return found


def _features(model: CodeModel, queries: Sequence[Query], sites: Sequence[Site], last: str) -> tuple[Tensor, Tensor]:
    prompts = [query.prompt for query in queries]
    return head_outputs(model, prompts, sites), capture(model, prompts, last, "last").vectors(last, "last").float()


def causal_check(
    model: CodeModel, vectors: TaskVectors, source: Source, queries: Sequence[Query], *, seed: int = 0
) -> list[Done]:
    """Return how often tasks are done after neutral prompts, with and without vectors.

    Args:
        model: The model.
        vectors: Of the tasks.
        source: Decides.
        queries: Held out; those without a neutral prompt are left out.
        seed: Of the random directions.

    Raises:
        InputError: Fewer than two tasks have a neutral prompt.
    """
    asked = [query for query in queries if query.neutral]
    able = list(dict.fromkeys(query.task for query in asked))
    if len(able) < 2:
        raise InputError("fewer than two tasks have a prompt that does not tell them, so no vector can be tried")
    own = vectors.strength * torch.stack([vectors.vector(query.task) for query in asked])
    following = dict(zip(able, [*able[1:], able[0]], strict=True))
    other = vectors.strength * torch.stack([vectors.vector(following[query.task]) for query in asked])
    noise = torch.randn(own.shape, generator=torch.Generator().manual_seed(seed))
    noise *= own.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
    neutral = [query.neutral for query in asked]
    said = [answers_after(model, source, asked, prompts) for prompts in ([query.prompt for query in asked], neutral)]
    said += [answers_after(model, source, asked, neutral, (vectors.site, added)) for added in (own, noise, other)]
    verdicts = [source.done(asked, texts) for texts in said]
    return [_rate(name, asked, right) for name, right in zip(CONDITIONS, verdicts, strict=True)]


def _rate(condition: str, queries: Sequence[Query], right: Sequence[bool]) -> Done:
    by_task: dict[str, list[bool]] = {}
    for query, one in zip(queries, right, strict=True):
        by_task.setdefault(query.task, []).append(one)
    rates = {task: wilson(sum(ones), len(ones)) for task, ones in by_task.items()}
    return Done(condition, wilson(sum(right), len(right)), rates)
