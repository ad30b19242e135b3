"""`ErrorProbe`: the fitted error predictor, one affine map of one activation, with calibrated risk.

probe = ErrorProbe().fit(features, wrong, groups)      # features: (n, d), or {(site, position): (n, d)}
probe.predict(x)                                       # risk in [0, 1]
probe.save(Path("runs/probe"), model=model)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ellora_trust import artifacts
from ellora_trust.errors import InputError
from ellora_trust.stats import Estimate, auroc, group_bootstrap
from probes.fitting.calibration import Calibration, Method
from probes.fitting.linear import batched_auroc, direction, pipeline
from probes.fitting.selection import Candidates, Choice, Key, Settings, components, grouped_folds, out_of_fold
from probes.measuring.verdicts import checked_labels

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ellora_trust.model import CodeModel
    from probes.guarantee.certificate import Certificate
    from probes.guarantee.certify import Groups
    from probes.watching.attach import By, Decision, Name
    from probes.watching.watch import Watch

KIND = "error-probe"
Features = ArrayLike | Tensor | Mapping[Key, Any]


class ErrorProbe:
    """A linear predictor of the model's own errors.

    Attributes (after `fit` or `load`):
        site_: Where it reads.
        position_: Over which tokens.
        strength_: scikit-learn's `C` that was chosen.
        weight_: Of the raw activation, (d,), float32.
        bias_: Added to it; their sum is the score in logits.
        calibration_: From score to risk.
        inner_auroc_: Cross-validated AUROC of the choice: optimistic, since the choice was made by it.
        running_max_: From the maximum of an answer's token scores to risk, if fitted; see `probes.watching.readout`.
        artifact_: What was read from disk, after `load`.
    """

    artifact_: artifacts.Artifact
    running_max_: Calibration | None = None

    def __init__(self, settings: Settings | None = None):
        self.settings = settings or Settings()

    def fit(
        self,
        features: Features,
        wrong: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        calibration: Method = "platt",
    ) -> Self:
        """Choose site, position and strength by grouped cross-validation, then fit on all rows.

        Args:
            features: (n, d), or a mapping of (site, position) to (n, d) to choose from.
            wrong: Whether each answer is wrong, (n,).
            groups: Problem of each row, (n,); required, since near-duplicates in two folds would leak.
            calibration: `isotonic` needs 1,000 rows, else `platt` is taken.

        Raises:
            InputError: No groups, shapes that differ, only one class, or too few groups of one.
        """
        candidates = Candidates.stack(_mapping(features))
        y, g = checked_labels(candidates, wrong, groups)
        folds = grouped_folds(y, g, self.settings.n_folds, self.settings.seed)
        labels = torch.as_tensor(y[None], dtype=torch.float32)
        scores = out_of_fold(candidates.x, labels, folds, self.settings)[:, :, 0]
        quality = batched_auroc(labels[0], scores)
        best = int(quality.flatten().argmax())
        candidate, strength = divmod(best, len(self.settings.strengths))
        chosen = Choice(candidate, self.settings.strengths[strength], float(quality.flatten()[best]))
        return self._fit_choice(candidates, chosen, y, scores[candidate, strength].numpy(), calibration)

    def _fit_choice(
        self, candidates: Candidates, choice: Choice, wrong: np.ndarray, held_out: np.ndarray, method: Method
    ) -> Self:
        """Fit the choice on all rows; calibrate on `held_out`, its scores for rows it was not fitted on."""
        self.site_, self.position_ = candidates.keys[choice.candidate]
        self.strength_, self.inner_auroc_ = choice.strength, choice.inner_auroc
        x = candidates.x[choice.candidate].numpy()
        k = components(self.settings, len(x), x.shape[1])
        weight = direction(pipeline(choice.strength, k, self.settings.seed).fit(x.astype(np.float64), wrong))
        self.weight_ = torch.tensor(weight, dtype=torch.float32)
        # Held-out scores carry no intercept; centring both makes one calibration serve.
        centre = float(np.mean(x.astype(np.float64) @ weight))
        self.bias_ = -centre
        self.calibration_ = Calibration.fit(held_out, wrong, method)
        return self

    def decision(self, x: ArrayLike | Tensor) -> np.ndarray:
        """Return scores in logits, (n,), higher is riskier.

        Args:
            x: Activations at `site_` and `position_`, (n, d).

        Raises:
            InputError: Not fitted, or another width.
        """
        if not hasattr(self, "weight_"):
            raise InputError(
                "this ErrorProbe is not fitted; call fit(features, wrong, groups) or ErrorProbe.load(folder)"
            )
        values = np.asarray(x, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.weight_):
            raise InputError(f"activations have shape {values.shape}; this probe reads (n, {len(self.weight_)})")
        return values @ self.weight_.double().numpy() + self.bias_

    def predict(self, x: ArrayLike | Tensor) -> np.ndarray:
        """Return the calibrated probability that each answer is wrong, (n,), in [0, 1]."""
        scores = self.decision(x)
        return self.calibration_(scores)

    def score(self, x: ArrayLike | Tensor, wrong: ArrayLike, groups: ArrayLike | None = None) -> Estimate:
        """Return the AUROC on rows it was not fitted on, with a bootstrap interval over groups.

        Raises:
            InputError: No groups: without them the interval would be too narrow.
        """
        if groups is None:
            raise InputError("score needs groups=, one problem id a row; rows of one problem are not independent")
        return group_bootstrap(auroc, (np.asarray(wrong, dtype=int), self.decision(x)), np.asarray(groups))

    def attach(
        self,
        model: Any,
        *,
        policy: Name | Decision = "flag",
        threshold: float | None = None,
        readout: By = "position",
        samples: int = 4,
        force: bool = False,
    ) -> AbstractContextManager[Watch]:
        """Watch a model while it generates: `with probe.attach(model) as watch:`; see `probes.watching.attach`."""
        from probes.watching.attach import attach

        return attach(self, model, policy=policy, threshold=threshold, readout=readout, samples=samples, force=force)

    def certify(
        self,
        x: ArrayLike,
        wrong: ArrayLike,
        groups: Groups,
        *,
        fitted_groups: Groups,
        risk: float = 0.1,
        confidence: float = 0.95,
    ) -> Certificate:
        """Certify a threshold on held-out groups; see `probes.guarantee.certify.certify_probe`."""
        from probes.guarantee.certify import certify_probe

        return certify_probe(self, x, wrong, groups, fitted_groups=fitted_groups, risk=risk, confidence=confidence)

    def save(
        self,
        folder: str | Path,
        *,
        model: CodeModel | Mapping[str, Any],
        data: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the probe as an artifact.

        Args:
            folder: Made or replaced, all or nothing.
            model: What it was fitted on, or what `artifacts.describe_model` said of it.
            data: What it was fitted with.
            metrics: How well it does, each number with interval, n and baseline.
            config: What else to record of how it is used, such as a threshold and its certificate.
        """
        recorded = {
            "settings": asdict(self.settings),
            "site": self.site_,
            "position": self.position_,
            "strength": self.strength_,
            "bias": self.bias_,
            "calibration": self.calibration_.to_dict(),
            "inner_auroc": self.inner_auroc_,
            **({"running_max": self.running_max_.to_dict()} if self.running_max_ else {}),
            "risk": self.calibration_.formula,
            **(config or {}),
        }
        described = dict(model) if isinstance(model, Mapping) else artifacts.describe_model(model)
        artifact = artifacts.Artifact(KIND, described, self.site_, dict(data or {}), recorded, dict(metrics or {}))
        artifacts.write(Path(folder), artifact, {"weight": self.weight_})

    @classmethod
    def load(cls, folder: str | Path, *, model: CodeModel | None = None, force: bool = False) -> ErrorProbe:
        """Read a saved probe.

        Args:
            folder: Where it is.
            model: What it will be used on; another than it was fitted on is refused.
            force: Accept another model all the same.

        Raises:
            InputError: No error predictor there, a damaged one, or another model.
        """
        artifact, tensors = artifacts.read(Path(folder), kind=KIND, model=model, force=force)
        config = artifact.config
        settings = {**config["settings"], "strengths": tuple(config["settings"]["strengths"])}
        probe = cls(Settings(**settings))
        probe.site_, probe.position_ = config["site"], config["position"]
        probe.strength_, probe.inner_auroc_ = config["strength"], config["inner_auroc"]
        probe.weight_, probe.bias_ = tensors["weight"], config["bias"]
        probe.calibration_ = Calibration.from_dict(config["calibration"])
        probe.running_max_ = Calibration.from_dict(config["running_max"]) if "running_max" in config else None
        probe.artifact_ = artifact
        return probe


def _mapping(features: Features) -> Mapping[Key, Any]:
    if isinstance(features, Mapping):
        return features
    return {("given", "given"): features}
