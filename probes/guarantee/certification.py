"""A third of the groups kept from fitting, to certify a threshold on; and which groups a predictor has seen.

held = hold_out_groups(groups, seed=0)                   # (n,) bool
certificate = certify_held_out(probe, kept, held, risk=0.1)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from probes.error_probe import ErrorProbe
from probes.guarantee.certificate import Certificate
from probes.guarantee.certify import certify_probe

HELD_OUT_SHARE = 1 / 3
CONFIDENCE = 0.95


def group_hash(group: object) -> str:
    """Return what an artifact records of a group: enough to recognise it, without its name, which may be a path."""
    return hashlib.sha256(str(group).encode()).hexdigest()[:16]


def group_hashes(groups: Iterable[object]) -> list[str]:
    """Return the hashes of the distinct groups, sorted."""
    return sorted({group_hash(group) for group in groups})


def hold_out_groups(groups: np.ndarray, *, seed: int, share: float = HELD_OUT_SHARE) -> np.ndarray:
    """Return which rows are kept from fitting, (n,) bool; groups stay whole, and row order changes nothing.

    Args:
        groups: (n,).
        seed: Of the choice.
        share: Of the groups, (0, 1).

    Raises:
        InputError: Fewer than 3 groups.
    """
    names = np.unique(groups)
    if len(names) < 3:
        raise InputError(
            f"{len(names)} groups are too few to keep a third from fitting; give at least 3 (hundreds help)"
        )
    chosen = np.random.default_rng(seed).permutation(names)[: round(share * len(names))]
    return np.isin(groups, chosen)


def certify_held_out(
    probe: ErrorProbe, kept: Labelled, held: np.ndarray, *, risk: float, confidence: float = CONFIDENCE, seed: int = 0
) -> Certificate:
    """Certify a threshold on a fitted probe's risk on the rows that fitting left out.

    Args:
        probe: Fitted on the other rows.
        kept: Decided rows, with activations.
        held: Which of them were left out, (n,) bool.
        risk: Largest share wrong among kept answers, (0, 1).
        confidence: Of the promise, (0, 1).
        seed: Of the draw of one row a group.

    Raises:
        InputError: As `certify_probe`.
    """
    x = kept.activations.vectors(probe.site_, probe.position_)[held].numpy()
    groups = kept.groups
    return certify_probe(
        probe,
        x,
        kept.wrong[held].astype(int),
        groups[held],
        fitted_groups=groups[~held],
        risk=risk,
        confidence=confidence,
        seed=seed,
    )


def certificate_config(certificate: Certificate) -> dict[str, object]:
    """Return what an artifact's `config` records: the certificate, and the threshold that `attach` takes."""
    recorded: dict[str, object] = {"certificate": certificate.to_dict()}
    # A risk is never above 1, so 1 keeps what an infinite threshold keeps, and is JSON.
    return recorded if certificate.threshold is None else recorded | {"threshold": min(certificate.threshold, 1.0)}
