"""From a probe's score to a risk: Platt's sigmoid, or isotonic steps where there are rows enough for them.

calibration = Calibration.fit(held_out_scores, wrong)
calibration(scores)                                    # risk in [0, 1]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from ellora_trust.errors import InputError, one_of

Method = Literal["platt", "isotonic"]
METHODS = ("platt", "isotonic")
# Below this isotonic regression overfits and Platt's two numbers are closer to the truth: Niculescu-Mizil & Caruana
# 2005, doi:10.1145/1102351.1102430, figure 7.
MIN_ISOTONIC = 1000


@dataclass(frozen=True)
class Calibration:
    """A rising map from a score in logits to a risk.

    Attributes:
        slope: Of Platt's map, sigmoid(slope * score + offset); risk a logit at the middle, times 4.
        offset: Logits.
        knots: (score, risk) pairs of an isotonic map, by rising score; linear between them, constant outside. Where
            there are any, they replace slope and offset.

    Source: Platt 1999, "Probabilistic outputs for support vector machines"; isotonic: Zadrozny & Elkan 2002,
        doi:10.1145/775047.775151.
    """

    slope: float
    offset: float
    knots: tuple[tuple[float, float], ...] = ()

    @classmethod
    def fit(cls, scores: np.ndarray, wrong: np.ndarray, method: Method = "platt") -> Self:
        """Fit on scores of rows that the scorer was not fitted on.

        Args:
            scores: Logits, (n,).
            wrong: 0 or 1, (n,).
            method: `isotonic` is replaced by `platt` for fewer than 1,000 rows.

        Raises:
            InputError: An unknown method.
        """
        model = LogisticRegression(C=1e6).fit(scores[:, None], wrong)
        slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
        knots = _knots(scores, wrong) if method_for(method, len(scores)) == "isotonic" else ()
        return cls(slope, offset, knots)

    @property
    def method(self) -> Method:
        return "isotonic" if self.knots else "platt"

    @property
    def formula(self) -> str:
        """How a risk is computed, for whoever reads the artifact without this library."""
        score = "activation @ weight + bias"
        if self.knots:
            return f"interp({score}, knots), linear between knots, constant outside"
        return f"sigmoid(slope * ({score}) + offset)"

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        if self.knots:
            at, risk = np.array(self.knots).T
            return np.interp(scores, at, risk)
        return expit(self.slope * scores + self.offset)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; knots only where there are any."""
        plain: dict[str, Any] = {"slope": self.slope, "offset": self.offset}
        return plain | ({"knots": [list(knot) for knot in self.knots]} if self.knots else {})

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Return the calibration that `to_dict` gave."""
        return cls(raw["slope"], raw["offset"], tuple((at, risk) for at, risk in raw.get("knots", ())))


def method_for(method: str, n: int) -> Method:
    """Return the method used for n rows: isotonic only where there are at least 1,000.

    Raises:
        InputError: An unknown method.
    """
    if method not in METHODS:
        raise InputError(one_of(method, METHODS, what="calibration"))
    return "isotonic" if method == "isotonic" and n >= MIN_ISOTONIC else "platt"


def _knots(scores: np.ndarray, wrong: np.ndarray) -> tuple[tuple[float, float], ...]:
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, wrong)
    pairs = zip(fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist(), strict=True)
    return tuple(pairs)
