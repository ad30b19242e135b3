"""Vectors added from the end of prompts on, and the layer and strength at which they make most tasks done.

with adding(model, "resid.1", vectors):       # one for all prompts of a call, (1, d_model), or one for each
    model.generate(prompts)
site, strength = best_place(model, source, queries, vectors, bar=bar)

The authors add a vector at the last token of each forward (`intervention_utils.py`), so in generation also at every
token that is written; so is it here, in scoring too. At the prompt's end alone it decides one token, and a function's
body is not one token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from attribution.function_vectors.queries import Query, Source
from ellora_trust.hooks import edit
from ellora_trust.layout import Layout
from ellora_trust.progress import Progress

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# Layers that are tried lie in the first two thirds, as the paper's do; it adds a vector once.
N_LAYERS, SHARE = 6, 2 / 3
STRENGTHS = (1.0, 2.0, 4.0, 8.0)


@contextmanager
def adding(model: CodeModel, site: str, vectors: Tensor) -> Iterator[None]:
    """Add vectors at the last token of each prompt and at every token after it, inside the `with`.

    Args:
        model: The model.
        site: Where, such as `resid.3`.
        vectors: One for all prompts of a call, (1, d_model), or one for each, (n_prompts, d_model).
    """
    layout = Layout(model)

    def add(hidden: Tensor, at: Tensor) -> Tensor | None:
        rows, columns = (at >= layout.ends - 1).nonzero(as_tuple=True)
        if not len(rows):
            return None
        numbers = torch.tensor(layout.numbers if len(vectors) > 1 else [0] * len(hidden))
        new = hidden.clone()
        new[rows, columns] += vectors[numbers[rows.cpu()]].to(hidden)
        return new

    with ExitStack() as stack:
        stack.enter_context(layout.attached())
        stack.enter_context(edit(model, {site: add}))
        yield


def best_place(
    model: CodeModel, source: Source, queries: Sequence[Query], vectors: Tensor, *, bar: Progress
) -> tuple[str, float]:
    """Return the layer and strength at which most neutral prompts are done, of equals where the answers are likeliest.

    Args:
        model: The model.
        source: Decides what is done.
        queries: With neutral prompts; those that the vectors were fitted on.
        vectors: One for each, (n, d_model).
        bar: Is moved on by one a place.
    """
    prompts = [query.neutral for query in queries]
    scored = [n for n, query in enumerate(queries) if query.answer]
    texts = [prompts[n] for n in scored], [queries[n].answer for n in scored]
    found: dict[tuple[str, float], tuple[int, float]] = {}
    for layer in layers(model.arch.n_layers):
        for strength in STRENGTHS:
            place = f"resid.{layer}", strength
            with adding(model, place[0], strength * vectors[scored]):
                likely = float(np.mean([score.sum for score in model.score(*texts)]))
            said = answers_after(model, source, queries, prompts, (place[0], strength * vectors))
            found[place] = (sum(source.done(queries, said)), likely)
            bar.advance(1)
    return max(found, key=lambda place: found[place])


def answers_after(
    model: CodeModel,
    source: Source,
    queries: Sequence[Query],
    prompts: Sequence[str],
    added: tuple[str, Tensor] | None = None,
) -> list[str]:
    """Return what is said after each query's prompt, within the limits of its task.

    Args:
        model: The model.
        source: Knows the limits.
        queries: Say the task of each prompt.
        prompts: As many.
        added: Site and vectors, (n, d_model), one for each prompt.
    """
    rows: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for number, query in enumerate(queries):
        rows.setdefault(source.limits(query.task), []).append(number)
    said: dict[int, str] = {}
    for (length, stop), numbers in rows.items():
        with adding(model, added[0], added[1][numbers]) if added else nullcontext():
            found = model.generate([prompts[n] for n in numbers], max_new_tokens=length, stop=stop)
        said.update(zip(numbers, (one.text for one in found), strict=True))
    return [said[n] for n in range(len(queries))]


def layers(n_layers: int) -> list[int]:
    """Return the layers that are tried."""
    return sorted({round(x) for x in np.linspace(0, SHARE * (n_layers - 1), min(N_LAYERS, n_layers))})
