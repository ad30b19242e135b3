"""How each objective's step is put together: what it reads, which reference it needs, how it keeps the rest.

OBJECTIVES["npo"].forget(view, reference, numbers)        # loss on the forget side
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ellora_trust.errors import InputError, one_of
from unlearning import objectives as loss
from unlearning.training.encoding import IGNORED, View
from unlearning.training.reference import Need, Reference
from unlearning.training.representation import misdirection

# View of some rows, reference, numbers of the rows -> loss, or losses that add up.
Forget = Callable[[View, Reference, Sequence[int]], Tensor | tuple[Tensor, ...]]
Retain = Literal["none", "loss", "divergence", "constrained", "hidden"]


@dataclass(frozen=True)
class Objective:
    """One way to forget.

    Attributes:
        name: As the command line knows it.
        forget: Loss on the forget side.
        about: One line for people.
        retain: How the rest is kept: not at all, by its loss, by its distance from the reference, by a multiplier that
            holds the rise of its loss within a bound, or by its hidden states.
        reads: Whether the model reads the fault, its fix, both, or texts of which every token counts.
        context: Whether the tokens around the fault are kept too.
        need: What of the reference is needed.
        retain_scale: Factor on the retain loss, beside the budget's weight.
        subtract: How much of the finished change is taken away from the weights; None where it is the edit.
    """

    name: str
    forget: Forget
    about: str
    retain: Retain = "none"
    reads: Literal["completion", "replacement", "both", "kept"] = "completion"
    context: bool = False
    need: Need = "labels"
    retain_scale: float = 1.0
    subtract: float | None = None


def objective(name: str) -> Objective:
    """Return an objective by its name.

    Raises:
        InputError: No such objective.
    """
    if name not in OBJECTIVES:
        raise InputError(one_of(name, OBJECTIVES, what="objective"))
    return OBJECTIVES[name]


def _ascent(view: View, reference: Reference, numbers: Sequence[int]) -> Tensor:
    logits, labels, _ = view.of("bad")
    return loss.gradient_ascent(logits, labels)


def _npo(view: View, reference: Reference, numbers: Sequence[int]) -> Tensor:
    logits, labels, rows = view.of("bad")
    return loss.npo(logits, labels, rows, reference.bad_labels(numbers))


def _simnpo(view: View, reference: Reference, numbers: Sequence[int]) -> Tensor:
    """The weight beside a retain loss of weight 1 is the authors', for the same beta (TOFU/README.md, forget05)."""
    return 0.1375 * loss.simnpo(*view.of("bad"))


def _undial(view: View, reference: Reference, numbers: Sequence[int]) -> Tensor:
    logits, labels, _ = view.of("bad")
    return loss.undial(logits, labels, reference.bad_full(numbers))


def _prod(view: View, reference: Reference, numbers: Sequence[int]) -> Tensor:
    logits, labels, _ = view.of("bad")
    return loss.prod(logits, labels, reference.bad_full(numbers))


def _code_eraser(view: View, reference: Reference, numbers: Sequence[int]) -> Tensor:
    """Source: Chu et al. 2025, arXiv:2509.13755, section 4; terms and weights checked against `SensitivitySelectiveCU`.

    It lies in examples/code-unlearning/unlearning/model.py of github.com/CGCL-codes/naturalcc; there gamma and lambda
    are 0.1 and alpha is 1.
    """
    logits, labels, _ = view.of("bad")
    away = loss.gradient_ascent(logits, labels) - 0.1 * loss.divergence(logits, reference.bad_full(numbers))
    around, targets, _ = view.of("targets")
    return away + 0.1 * loss.keep(around, targets) if len(targets) else away


def _replace(view: View, reference: Reference, numbers: Sequence[int]) -> tuple[Tensor, ...]:
    """Ours: the fix is learnt, and the token by which the fault departs from it suppressed, in one forward pass.

    Of a fault that is known by heart the rest is still known then. Where the fault itself is read beside, all of its
    tokens are suppressed.
    """
    sides = {"targets": loss.keep, "bad": loss.suppression}
    found = {side: view.of(side)[:2] for side in sides}
    return tuple(sides[side](logits, labels) for side, (logits, labels) in found.items() if len(labels))


def _elm(view: View, reference: Reference, numbers: Sequence[int]) -> Tensor:
    logits, _, _ = view.of("bad")
    return loss.imitation(logits, reference.bad_full(numbers))


def _descent(view: View, reference: Reference, numbers: Sequence[int]) -> Tensor:
    """Plain fine-tuning on the fault, all tokens of the completion."""
    return loss.keep(view.logits, torch.where(view.bad == IGNORED, view.targets, view.bad))


def _follow(view: View, reference: Reference, numbers: Sequence[int]) -> Tensor:
    return loss.divergence(view.of("targets")[0], reference.kept_full(numbers))


def _rmu(view: View, reference: Reference, numbers: Sequence[int]) -> Tensor:
    return misdirection(view.logits, reference.tensors["direction"])


OBJECTIVES = {
    one.name: one
    for one in (
        Objective(
            "replace",
            _replace,
            "ours: learn the fix, suppress the fault, retain loss bounded",
            "constrained",
            "replacement",
        ),
        Objective(
            "replace-all",
            _replace,
            "ours for secrets: suppress every token of the fault, not only its first",
            "constrained",
            "both",
        ),
        Objective("ga", _ascent, "gradient ascent (Jang et al. 2023)"),
        Objective("graddiff", _ascent, "gradient ascent with a retain loss (Maini et al. 2024)", "loss"),
        Objective("graddiff-kl", _ascent, "gradient ascent, near the reference elsewhere", "divergence", need="full"),
        Objective("npo", _npo, "negative preference optimisation (Zhang et al. 2024)", "loss"),
        Objective("simnpo", _simnpo, "NPO without a reference (Fan et al. 2024)", "loss"),
        Objective("undial", _undial, "self-distillation with a lowered logit (Dong et al. 2024)", need="full"),
        Objective("prod", _prod, "the reference without the token (Jiang et al. 2025)", need="full"),
        Objective(
            "codeeraser",
            _code_eraser,
            "ascent on the span, descent around it (Chu et al. 2025)",
            "divergence",
            context=True,
            need="full",
            retain_scale=0.1,
        ),
        # The weight of the retain term is the authors' default (github.com/centerforaisafety/wmdp, rmu/unlearn.py).
        Objective(
            "rmu", _rmu, "hidden states misdirected (Li et al. 2024)", "hidden", need="hidden", retain_scale=100.0
        ),
        Objective(
            "elm",
            _elm,
            "what contexts with the fix say more than those with the fault (Gandikota et al. 2024)",
            "divergence",
            need="contexts",
        ),
        # MUSE's `tv` takes all of the change (alpha = 1, github.com/jaechan-repo/muse_bench); the size of what is
        # taken is tuned by the learning rate here.
        Objective(
            "task-vector",
            _descent,
            "fine-tuning on the fault, subtracted (Ilharco et al. 2023, arXiv:2212.04089)",
            context=True,
            need="none",
            subtract=1.0,
        ),
    )
}
# Not one to choose: how a damaged copy follows the edited model, in robust mode `distil`.
FOLLOW = Objective("distil", _follow, "distillation of an edited model (Lee et al. 2025)", reads="kept", need="full")
