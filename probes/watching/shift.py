"""How far the text at hand lies from what a probe was fitted on, by the distribution of its scores.

data = {**data, "scores": describe_scores(probe.decision(x))}     # when a probe is saved
shift_of(probe, token_scores).sentence
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from probes.error_probe import ErrorProbe


@dataclass(frozen=True)
class Shift:
    """Scores here against scores at fitting, all in logits.

    Attributes:
        mean: Of the token scores here.
        sd: Their standard deviation.
        n: Tokens here.
        fitted_mean: Of the scores at fitting; None where the artifact does not hold it.
        fitted_sd: Their standard deviation.
        fitted_n: How many there were.
        distance: (mean - fitted_mean) / fitted_sd; above 1 in size, risks should not be taken at their word.
        task: What the probe was fitted on; empty where that is not recorded.
        sentence: All of it in words.
    """

    mean: float
    sd: float
    n: int
    fitted_mean: float | None
    fitted_sd: float | None
    fitted_n: int | None
    distance: float | None
    task: str
    sentence: str


def describe_scores(scores: ArrayLike) -> dict[str, Any]:
    """Return mean, standard deviation and number of the scores a probe was fitted on, for `data["scores"]`."""
    values = np.asarray(scores, dtype=float)
    return {"mean": float(values.mean()), "sd": float(values.std()), "n": len(values)}


def shift_of(probe: ErrorProbe, scores: np.ndarray) -> Shift:
    """Compare token scores, (n,) in logits, with what the probe's artifact says of its own data."""
    artifact = getattr(probe, "artifact_", None)
    data = artifact.data if artifact else {}
    task, stored = str(data.get("task", "")), data.get("scores")
    mean, sd = (float(scores.mean()), float(scores.std())) if len(scores) else (float("nan"), float("nan"))
    origin = _origin(task, str(data.get("mode", "")))
    if not stored:
        words = f"{origin} Its scores at fitting are not stored, so how far this text lies from them is not known."
        return Shift(mean, sd, len(scores), None, None, None, None, task, words)
    distance = (mean - stored["mean"]) / max(stored["sd"], 1e-9)
    words = (
        f"{origin} Token scores here: {mean:.2f} ± {sd:.2f} (n = {len(scores)}); at fitting: {stored['mean']:.2f} ± "
        f"{stored['sd']:.2f} (n = {stored['n']}); the means differ by {distance:+.1f} standard deviations."
    )
    if abs(distance) > 1:
        words += " That is far: read these risks as an order of the lines, not as probabilities."
    return Shift(mean, sd, len(scores), stored["mean"], stored["sd"], stored["n"], distance, task, words)


def _origin(task: str, mode: str) -> str:
    if not task:
        return "What the predictor was fitted on is not recorded."
    what = "given answers" if "given" in mode else "generated answers"
    return f"The predictor was fitted on {what} to task {task}, not on source files."
