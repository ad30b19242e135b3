"""The losses, as plain functions of logits at counted places; smaller is more forgotten, or better kept.

Logits are (n, vocabulary), labels (n,) with no place ignored: prompts, padding and -100 were left out before, by
`unlearning.training.encoding`. `rows` (n,) says which text a place belongs to. A `reference` is what the unedited model
said: log-probabilities of the labels (n,), or of the vocabulary (n, vocabulary). All losses are in nats.

    gradient_ascent(logits, labels).backward()
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid


def label_logprobs(logits: Tensor, labels: Tensor) -> Tensor:
    """log p of each label, (n,)."""
    return -cross_entropy(logits, labels, reduction="none")


def row_sums(values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums over the places of each text and their numbers, (n_texts,), for texts that have any."""
    _, index, sizes = torch.unique(rows, return_inverse=True, return_counts=True)
    return values.new_zeros(len(sizes)).index_add(0, index, values), sizes


def keep(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, mean over places: a plain fine-tuning step, and the retain loss of GradDiff and NPO."""
    return cross_entropy(logits, labels)


def gradient_ascent(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-likelihood, mean over places; unbounded below.

    Source: Jang et al. 2023, arXiv:2210.01504, equation 1: the negated training objective. With `keep` added it is
        GradDiff: Maini et al. 2024, arXiv:2401.06121, section 4; both checked against TOFU/dataloader.py of
        github.com/licong-lin/negative-preference-optimization.
    """
    return -cross_entropy(logits, labels)


def npo(logits: Tensor, labels: Tensor, rows: Tensor, reference: Tensor, *, beta: float = 0.1) -> Tensor:
    """Negative preference optimisation: -(2 / beta) mean log sigmoid(-beta log(p / p_ref)) of whole texts.

    p is that of the text's labels, not of the whole vocabulary.

    Source: Zhang et al. 2024, arXiv:2404.05868, equation 3; checked against `npo_grad_diff` in TOFU/dataloader.py of
        github.com/licong-lin/negative-preference-optimization, whose beta is 0.1 too.
    """
    ratio, _ = row_sums(label_logprobs(logits, labels) - reference, rows)
    return -2 / beta * logsigmoid(-beta * ratio).mean()


def simnpo(logits: Tensor, labels: Tensor, rows: Tensor, *, beta: float = 2.5, gamma: float = 0.0) -> Tensor:
    """NPO without a reference, normalised by length: -(2 / beta) mean log sigmoid(-(beta / |y|) log p - gamma).

    Source: Fan et al. 2024, arXiv:2410.07163, equation 4; checked against `simnpo_grad_diff` in TOFU/dataloader.py of
        github.com/OPTML-Group/Unlearn-Simple, where gamma is multiplied by beta (no difference at its default, 0). The
        authors' beta: 2.5 on forget05, 4.5 on forget10.
    """
    sums, sizes = row_sums(label_logprobs(logits, labels), rows)
    return -2 / beta * logsigmoid(-beta * sums / sizes - gamma).mean()


def undial(logits: Tensor, labels: Tensor, reference: Tensor, *, strength: float = 10.0) -> Tensor:
    """Cross-entropy to the reference's distribution with the label's logit lowered by `strength`.

    Source: Dong et al. 2024, arXiv:2402.10052, equations 3 and 4; checked against `DITrainer` in utils/ft_utils.py of
        github.com/dong-river/LLM_unlearning (default strength 5) and the authors' notes in open-unlearning, which take
        3, 10 or 30.
    """
    lowered = reference.scatter_add(1, labels[:, None], reference.new_full((len(labels), 1), -strength))
    return cross_entropy(logits, lowered.softmax(-1))


def prod(
    logits: Tensor,
    labels: Tensor,
    reference: Tensor,
    *,
    top_p: float = 0.8,
    most: int = 10,
    temperature: float = 0.8,
) -> Tensor:
    """Cross-entropy to what the reference would say if the label did not exist, cut to its likeliest tokens.

    Source: Jiang et al. 2025, arXiv:2506.17125; the cut (nucleus `top_p`, at most `most` tokens), the temperature and
        alpha = 0 are the defaults of `get_output_distribution` in PROD.py of github.com/jiangxxxue/PROD. The script
        there, run_PROD.sh, leaves out `most` and the temperature, which its program takes for none.
    """
    without = reference.scatter(1, labels[:, None], float("-inf"))
    ordered, order = without.softmax(-1).sort(-1, descending=True)
    # A token stays while those before it hold at most `top_p`; the likeliest always does.
    out = ordered.cumsum(-1) - ordered > top_p
    out[:, most:] = True
    dropped = torch.zeros_like(out).scatter(1, order, out)
    target = (without / temperature).masked_fill(dropped, float("-inf")).softmax(-1)
    return cross_entropy(logits, target)


def elm_target(logprobs: Tensor, expert: Tensor, novice: Tensor, *, strength: float = 1000.0) -> Tensor:
    """Log-probabilities of what a model shall say that takes itself for a novice.

    log P + strength (log P(. | novice) - log P(. | expert)), normalised; all (n, vocabulary). Novice and expert are
    the unedited model after two contexts.

    Source: Gandikota et al. 2024, arXiv:2410.02760, the erasing objective; checked against `get_edit_vector` of
        github.com/rohitgandikota/erasing-llm, whose strength grows from 1 to 1000 over the places of a text, and
        which cuts to the 50 likeliest tokens at a temperature of 1.2. Here few places count, and all get 1000.
    """
    return (logprobs + strength * (novice - expert)).log_softmax(-1)


def imitation(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy to a distribution given by its log-probabilities, (n, vocabulary), mean over places."""
    return cross_entropy(logits, target.exp())


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(reference to model), mean over places; the retain loss of GradDiff-KL.

    Source: checked against `compute_kl_divergence` in src/trainer/utils.py of github.com/locuslab/open-unlearning,
        which counts prompts and padding too.
    """
    ours = logits.log_softmax(-1)
    return (reference.exp() * (reference - ours)).sum(-1).mean()


def suppression(logits: Tensor, bad: Tensor) -> Tensor:
    """-log(1 - p(bad)), mean over places: 0 where the token is gone, so it ends by itself.

    Source: Welleck et al. 2020, arXiv:1908.04319, equation 3 (unlikelihood).
    """
    others = logits.scatter(1, bad[:, None], float("-inf")).logsumexp(-1)
    return (logits.logsumexp(-1) - others).mean()
