"""Which task is the model performing here? Function vectors, by task.

    vectors = task_vectors(model, "testbed")              # or "demonstrations", or ["types", "aliasing"]
    vectors.identify(model, [prompt])[0]                  # {"total": 0.97, "mean": 0.01, ...}
    with vectors.apply(model, "total"):                   # a neutral prompt is now continued by a sum
        model.generate(["def handle_red_rows(rows):"])
    vectors.save("runs/tasks", model=model)

A head's mean output at the last token of prompts that tell a task; the heads whose means do most for the answer of
prompts that do not; their sum as they write it into the stream, added there from a prompt's last token on.

Source: Todd et al. 2024, arXiv:2310.15213, equations 1 to 5, and github.com/ericwtodd/function_vectors. Departures: see
`attribution.function_vectors.heads`; layer and strength are chosen on the prompts that the vectors were fitted on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attribution.function_vectors.adding import STRENGTHS, best_place, layers
from attribution.function_vectors.heads import first_order_effects, head_outputs, head_sites, indirect_effects
from attribution.function_vectors.queries import Query, Source, source_of
from attribution.function_vectors.readout import Readout
from attribution.function_vectors.vectors import TaskVectors
from attribution.inside.direct import written
from ellora_trust.errors import InputError
from ellora_trust.progress import Progress
from ellora_trust.sites import Site

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

__all__ = ["TaskVectors", "task_vectors"]

# The paper takes 10 of 448 heads; of a small model, no more than a quarter.
MOST_HEADS = 10
# Of a model with more heads than so many times those chosen, the first order says which are tried exactly.
SCREENED = 4
Effect = Callable[["CodeModel", Query, Sequence[Site], Tensor], Tensor]


def task_vectors(
    model: CodeModel,
    tasks: Source | str | Sequence[str],
    *,
    n_fit: int = 24,
    n_trials: int = 4,
    n_heads: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> TaskVectors:
    """Fit task vectors.

    Args:
        model: The model.
        tasks: A source, or as of `attribution.function_vectors.queries.source_of`.
        n_fit: Prompts of each task.
        n_trials: Uninformed prompts of each task that heads are chosen by, and neutral ones that the place is.
        n_heads: Heads to choose; None for a quarter of them, ten at most.
        seed: Of the choice of prompts.
        progress: Show a progress bar.

    Raises:
        InputError: An unknown task, a number out of range, or tasks none of which has uninformed prompts.
    """
    source = tasks if isinstance(tasks, Source) else source_of(tasks)
    sites = head_sites(model)
    wanted = min(MOST_HEADS, max(len(sites) // 4, 1)) if n_heads is None else n_heads
    for name, value, least, most in (
        ("n_fit", n_fit, 2, None),
        ("n_trials", n_trials, 1, n_fit),
        ("n_heads", wanted, 1, len(sites)),
    ):
        if value < least or (most is not None and value > most):
            raise InputError(f"{name} is {value}; use {least} {f'to {most}' if most is not None else 'or more'}")
    fit = source.draw(n_fit, 0, seed).fit
    return _Fit(model, source, sites, fit, progress).vectors(wanted, n_trials, {"n_fit": n_fit, "seed": seed})


@dataclass
class _Fit:
    """One fit: what every step of it needs."""

    model: CodeModel
    source: Source
    sites: list[Site]
    queries: tuple[Query, ...]
    progress: bool

    def vectors(self, n_heads: int, n_trials: int, settings: dict[str, Any]) -> TaskVectors:
        outputs = head_outputs(self.model, [q.prompt for q in self.queries], self.sites, progress=self.progress)
        names = [query.task for query in self.queries]
        # A task may have fewer prompts than were asked for, and none at all.
        tasks = tuple(task for task in self.source.tasks if task in names)
        rows = {task: [n for n, name in enumerate(names) if name == task] for task in tasks}
        means = torch.stack([outputs[rows[task]].mean(0) for task in tasks])
        effects = self._effects(means, tasks, rows, n_trials, n_heads)
        chosen = effects.nan_to_num(-torch.inf).argsort(descending=True)[:n_heads].tolist()
        summed = torch.stack([self._sum(mean, chosen) for mean in means])
        site, strength = self._place(summed, tasks, rows, n_trials)
        readout = Readout.fit(outputs[:, chosen].flatten(1), names, [query.group for query in self.queries])
        return TaskVectors(
            self.source.name,
            tasks,
            tuple(str(self.sites[n]) for n in chosen),
            self._grid(effects),
            means[:, chosen].clone(),
            summed,
            readout,
            site,
            strength,
            {**settings, "n_trials": n_trials, "n_heads": n_heads},
        )

    def _effects(
        self, means: Tensor, tasks: Sequence[str], rows: Mapping[str, list[int]], n_trials: int, n_heads: int
    ) -> Tensor:
        """Average indirect effect of each head over tasks, in nats, (n_sites,); nan where it was ruled out."""
        asked = {task: [self.queries[n] for n in rows[task] if self.queries[n].uninformed][:n_trials] for task in tasks}
        if not any(asked.values()):
            raise InputError(
                f"none of {', '.join(tasks)} has prompts without what tells the task, so no head can be chosen; give "
                "a task with a header of examples"
            )
        tried = list(range(len(self.sites)))
        if len(tried) > SCREENED * n_heads:
            rough = self._averaged(first_order_effects, asked, means, tasks, tried)
            tried = rough.argsort(descending=True)[: SCREENED * n_heads].tolist()
        effects = torch.full((len(self.sites),), torch.nan)
        effects[tried] = self._averaged(indirect_effects, asked, means, tasks, tried)
        return effects

    def _averaged(
        self,
        effect: Effect,
        asked: Mapping[str, Sequence[Query]],
        means: Tensor,
        tasks: Sequence[str],
        tried: list[int],
    ) -> Tensor:
        """Mean over tasks of the mean over their queries, in nats, (n_tried,)."""
        sites, found = [self.sites[n] for n in tried], []
        with Progress(sum(map(len, asked.values())), "choosing heads", enabled=self.progress) as bar:
            for task, queries in asked.items():
                effects = []
                for query in queries:
                    effects.append(effect(self.model, query, sites, means[tasks.index(task)][tried]))
                    bar.advance(1)
                found += [torch.stack(effects).mean(0)] if effects else []
        return torch.stack(found).mean(0)

    def _sum(self, mean: Tensor, chosen: Sequence[int]) -> Tensor:
        """What the chosen heads' mean outputs write into the stream, (d_model,)."""
        with torch.no_grad():
            parts = [written(self.model, self.sites[n], mean[n].to(self.model.device)) for n in chosen]
        return torch.stack(parts).sum(0).cpu()

    def _place(
        self, summed: Tensor, tasks: Sequence[str], rows: Mapping[str, list[int]], n_trials: int
    ) -> tuple[str, float]:
        asked = [(n, tasks.index(t)) for t in tasks for n in [m for m in rows[t] if self.queries[m].neutral][:n_trials]]
        queries, vectors = [self.queries[n] for n, _ in asked], summed[[number for _, number in asked]]
        total = len(layers(self.model.arch.n_layers)) * len(STRENGTHS)
        with Progress(total, "choosing a layer", enabled=self.progress) as bar:
            return best_place(self.model, self.source, queries, vectors, bar=bar)

    def _grid(self, effects: Tensor) -> Tensor:
        grid = torch.full((self.model.arch.n_layers, self.model.arch.n_heads), torch.nan)
        for site, effect in zip(self.sites, effects.tolist(), strict=True):
            grid[site.layer, site.head] = effect
        return grid
