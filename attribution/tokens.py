"""Which parts of a prompt an answer comes from, by captum, over the units of the source text.

    result = attribute_tokens(model, prompt, " list", foil=" dict", method="shapley")
    result.ranked()[:3]          # the units that speak most for `list` rather than `dict`

| method | what a score is | adds up to | forwards |
|---|---|---|---|
| `integrated_gradients` | gradient at the embedding, on a path from end-of-text tokens | value - absent | 2 x steps |
| `gradient_x_input` | gradient at the embedding x the embedding | nothing | 2 |
| `ablation` | what the target loses without the unit | nothing | 2 x units |
| `shapley` | mean loss over sampled orders of leaving units out | value - absent | 2 x units x samples |

`ablation` and `shapley` leave the unit's tokens out of the text, the others never change the text. Look at the
`convergence_delta` of integrated gradients: where the end-of-text embedding is all zeros, a norm has a kink at the
start of the path, which needs many steps.
Sources: Sundararajan et al. 2017, arXiv:1703.01365; Castro et al. 2009, doi:10.1016/j.cor.2008.04.004.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from attribution.prompt.target import Target, log_probability
from attribution.prompt.units import By, Unit, units_of
from ellora_trust.errors import InputError, one_of
from ellora_trust.progress import Progress
from ellora_trust.spans import Language

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

Method = Literal["integrated_gradients", "gradient_x_input", "ablation", "shapley"]
METHODS: tuple[Method, ...] = get_args(Method)
# Texts that are scored before the progress bar moves; batches are planned within.
_AT_ONCE = 32


@dataclass(frozen=True)
class TokenAttribution:
    """What each unit of a prompt did for an answer.

    Attributes:
        prompt: The text.
        answer: What is explained.
        foil: What it is compared with, or None.
        units: In the order of the text, each with its score in nats.
        method: Which method.
        target: What the scores are about, such as "log p(' list') - log p(' dict')".
        value: The target on the whole prompt, in nats.
        absent: The target where no unit is there, in nats; None where the method has no such point.
        convergence_delta: Sum of all scores minus (value - absent), in nats; None where they need not agree.
    """

    prompt: str
    answer: str
    foil: str | None
    units: tuple[Unit, ...]
    method: Method
    target: str
    value: float
    absent: float | None = None
    convergence_delta: float | None = None

    def ranked(self) -> list[Unit]:
        """Return the units, those that speak most for the answer first."""
        return sorted(self.units, key=lambda unit: (-unit.score, unit.start))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def attribute_tokens(
    model: CodeModel,
    prompt: str,
    answer: str,
    *,
    foil: str | None = None,
    method: Method = "shapley",
    language: Language = "python",
    by: By = "identifier",
    steps: int = 64,
    samples: int = 16,
    seed: int = 0,
    progress: bool = False,
) -> TokenAttribution:
    """Score the units of a prompt by what they do for an answer.

    Args:
        model: The model.
        prompt: The text before the answer.
        answer: The answer, tokenised apart from the prompt.
        foil: Another answer; then it is asked why this one rather than that.
        method: See the module's table.
        language: Of the prompt.
        by: How finely the prompt is divided.
        steps: Points on the path of integrated gradients, >= 1.
        samples: Orders that `shapley` draws, >= 1.
        seed: Of these orders.
        progress: Show a progress bar over the orders or the units that are left out.

    Raises:
        InputError: An unknown method, division or language, or an empty, too long or pointless text.
    """
    if method not in METHODS:
        raise InputError(one_of(method, METHODS, what="method"))
    if steps < 1 or samples < 1:
        raise InputError(f"{steps} steps and {samples} samples were given; use at least 1 of each")
    units = units_of(model, prompt, language, by=by)
    target = Target.of(model, prompt, answer, foil)
    if method in ("ablation", "shapley"):
        orders = samples if method == "shapley" else 0
        scores, absent = _left_out(model, target, units, samples=orders, seed=seed, progress=progress)
        exact = method == "shapley"
    else:
        tokens, absent = _by_gradient(model, target, units, steps=steps if method == "integrated_gradients" else 0)
        scores, exact = torch.stack([tokens[list(unit.tokens)].sum() for unit in units]), absent is not None
    value = float(target.values(model, [target.prompt]))
    delta = float(scores.sum()) - (value - absent) if exact and absent is not None else None
    scored = tuple(replace(unit, score=float(score)) for unit, score in zip(units, scores, strict=True))
    return TokenAttribution(prompt, answer, foil, scored, method, target.name, value, absent, delta)


def without(prompt: Sequence[int], units: Sequence[Unit], kept: Sequence[bool] | Tensor) -> list[int]:
    """Return the prompt's token ids without the tokens of the units that are not kept."""
    gone = {token for unit, stays in zip(units, kept, strict=True) if not stays for token in unit.tokens}
    return [token for number, token in enumerate(prompt) if number not in gone]


def _left_out(
    model: CodeModel, target: Target, units: Sequence[Unit], *, samples: int, seed: int, progress: bool
) -> tuple[Tensor, float]:
    """Scores of units by leaving them out, (n_units,), and the target without any; 0 samples is plain ablation."""
    from captum.attr import FeatureAblation, ShapleyValueSampling

    bar = Progress((samples or 1) * len(units), "leaving units out", enabled=progress)

    def worth(present: Tensor) -> Tensor:
        bar.advance(len(present))
        return target.values(model, [without(target.prompt, units, row > 0.5) for row in present])

    whole = torch.ones(1, len(units), dtype=torch.float64)
    # captum draws its orders from torch's own generator, which is the caller's.
    with bar, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if samples:
            scores = ShapleyValueSampling(worth).attribute(
                whole, n_samples=samples, perturbations_per_eval=min(len(units), _AT_ONCE)
            )
        else:
            scores = FeatureAblation(worth).attribute(whole, perturbations_per_eval=min(len(units), _AT_ONCE))
        absent = float(worth(torch.zeros_like(whole)))
    return scores[0].double(), absent


def _by_gradient(model: CodeModel, target: Target, units: Sequence[Unit], *, steps: int) -> tuple[Tensor, float | None]:
    """Scores of the prompt's tokens, (n_prompt,), and the target at the path's start; 0 steps is gradient x input."""
    total, absent = torch.zeros(len(target.prompt), dtype=torch.float64), 0.0
    start = list(target.prompt)
    for unit in units:
        for token in unit.tokens:
            start[token] = model.pad_id
    for continuation, sign in target.parts:
        ids = torch.tensor([[*target.prompt, *continuation]], device=model.device)
        base = torch.tensor([[*start, *continuation]], device=model.device)
        scores = _embedding_scores(model, ids, base, len(continuation), steps)
        total += sign * scores.sum(-1)[0, : len(target.prompt)].double().cpu()
        with torch.no_grad():
            absent += sign * float(log_probability(model, base, len(continuation)))
    return total, absent if steps else None


def _embedding_scores(model: CodeModel, ids: Tensor, base: Tensor, n_answer: int, steps: int) -> Tensor:
    """captum's scores at the output of the embedding, (1, tokens, d_model)."""
    from captum.attr import LayerGradientXActivation, LayerIntegratedGradients

    def forward(rows: Tensor) -> Tensor:
        return log_probability(model, rows, n_answer)

    embedding = model.hf.get_input_embeddings()
    with torch.enable_grad():
        if not steps:
            scores = LayerGradientXActivation(forward, embedding).attribute(ids)
        else:
            fitting = max(model.token_budget // ids.shape[1], 1)
            scores = LayerIntegratedGradients(forward, embedding).attribute(
                ids, base, n_steps=steps, internal_batch_size=min(fitting, steps)
            )
    assert isinstance(scores, Tensor)
    return scores.detach()
