"""What a certified threshold promises, in numbers, in words and as JSON.

certificate = certify(risks, wrong, groups, risk=0.1)      # probes.guarantee.certify
print(certificate.sentence())
answer = certificate.keeps(new_risks)                      # True where an answer may be given
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ellora_trust.errors import InputError
from ellora_trust.stats import Estimate

Method = Literal["bonferroni", "fixed-sequence"]


@dataclass(frozen=True)
class Certificate:
    """A threshold below which answers are wrong at most a stated share of the time.

    The promise is about one random item of a new group, drawn like the groups it was certified on; over repeated
    certification sets it fails with probability at most 1 - confidence.

    Attributes:
        threshold: Answers with a score strictly below it are kept; infinite keeps all; None: none could be certified.
        risk: Largest share wrong among kept answers, (0, 1).
        confidence: Of the promise, (0, 1).
        method: How the family of thresholds was tested.
        assumes_one_crossing: Whether the promise assumes that the share wrong, once above `risk`, stays above it as
            more answers are kept.
        n_groups: Groups used, one random row of each.
        n_needed: Groups without which nothing can be certified, even if no kept answer were wrong.
        n_tested: Thresholds tested.
        base_risk: Share wrong of all drawn rows, Wilson.
        least_abstention: Share of answers that any method must withhold at this base risk, [0, 1].
        coverage: Share of drawn rows kept, Wilson; None without a threshold. A little optimistic: of those that pass,
            the threshold that keeps most is taken.
        kept_risk: Share wrong of drawn rows kept, Wilson; None without a threshold.
        seed: Of the draw of rows.
        data_hash: sha256 of the certification rows.
    """

    threshold: float | None
    risk: float
    confidence: float
    method: Method
    assumes_one_crossing: bool
    n_groups: int
    n_needed: int
    n_tested: int
    base_risk: Estimate
    least_abstention: float
    coverage: Estimate | None
    kept_risk: Estimate | None
    seed: int
    data_hash: str

    def keeps(self, scores: ArrayLike) -> np.ndarray:
        """Return which answers may be given, bool, shape of `scores`; none without a threshold."""
        values = np.asarray(scores, dtype=float)
        return values < self.threshold if self.threshold is not None else np.zeros(values.shape, dtype=bool)

    def sentence(self) -> str:
        """Return all of it in words."""
        return " ".join([*self._verdict(), self._bound()])

    def _verdict(self) -> list[str]:
        goal = f"at most {self.risk:.1%} wrong with {self.confidence:.0%} confidence"
        if self.threshold is None:
            return [f"No threshold is certified for {goal}:", self._reason()]
        assert self.coverage is not None
        assert self.kept_risk is not None
        which = "All answers" if math.isinf(self.threshold) else f"Answers with a score below {self.threshold:.4g}"
        found = [
            f"{which} are certified: {goal}, for one random item of a new group like the {self.n_groups} used.",
            f"They are {self.coverage:.1%} of the answers, and {self.kept_risk:.1%} of them were wrong.",
        ]
        if self.assumes_one_crossing:
            found.append("This assumes that the share wrong, once above the target, stays above it as more are kept.")
        return found

    def _reason(self) -> str:
        if self.n_groups < self.n_needed:
            return (
                f"it cannot be with {self.n_groups} groups; at least {self.n_needed} groups are needed even if no "
                "kept answer were wrong."
            )
        return (
            f"none of {self.n_tested} thresholds passed on {self.n_groups} groups; use more groups, a higher risk or "
            "a better predictor."
        )

    def _bound(self) -> str:
        return (
            f"Of all answers {self.base_risk:.1%} were wrong, so any method must withhold at least "
            f"{self.least_abstention:.1%} of them."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that go into strict JSON; an infinite threshold becomes "inf"."""
        raw = asdict(self)
        if self.threshold is not None and math.isinf(self.threshold):
            raw["threshold"] = "inf"
        return raw

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Certificate:
        """Return the certificate that `to_dict` gave.

        Raises:
            InputError: Fields are missing, unknown or of another type.
        """
        try:
            fields = dict(raw)
            for name in ("base_risk", "coverage", "kept_risk"):
                fields[name] = None if fields[name] is None else Estimate(**fields[name])
            fields["threshold"] = None if fields["threshold"] is None else float(fields["threshold"])
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is not a certificate ({error}); give what Certificate.to_dict wrote") from error
