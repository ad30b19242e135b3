"""`attach`: a fitted `ErrorProbe` on a model while it generates; one dot product a token, nothing else changes.

The model is a `CodeModel`, a transformers causal LM you already have, or a pipeline around one. Inside the `with`, its
own `generate` is watched: any batch, left padding, with or without a cache, greedy, sampled or by beams.

    with attach(probe, model) as watch:
        model.generate(prompts)
    watch.answers[0].risk

Peers that tap activations while generating: vLLM-Lens, https://github.com/UKGovernmentBEIS/vllm-lens (forces eager
mode); Obeso et al. 2025, arXiv:2509.03531 (per-token heads, with a training of their own).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from transformers import PreTrainedModel

from ellora_trust import fingerprint
from ellora_trust.architecture import Architecture, discover
from ellora_trust.errors import InputError
from ellora_trust.model import CodeModel
from ellora_trust.sites import resolve
from probes.error_probe import ErrorProbe
from probes.watching.generate_calls import watched_generate
from probes.watching.policies import Decision, Name, Policy
from probes.watching.readout import By, Readout
from probes.watching.resampled import resampled
from probes.watching.trace import Tap
from probes.watching.watch import Watch

# The risk from which an answer is more likely wrong than right.
THRESHOLD = 0.5


@contextmanager
def attach(
    probe: ErrorProbe,
    model: CodeModel | PreTrainedModel | Any,
    *,
    policy: Name | Decision = "flag",
    threshold: float | None = None,
    readout: By = "position",
    samples: int = 4,
    min_tokens: int = 4,
    on_token: Decision | None = None,
    force: bool = False,
) -> Iterator[Watch]:
    """Watch a model with a probe for the length of a `with`.

    With `flag` the logits are bit-identical to the unwatched model's, and the device is waited for once a call, at its
    end. Afterwards the model is what it was, also after an exception.

    Args:
        probe: Fitted or loaded.
        model: A `CodeModel`, a transformers causal LM, or a pipeline (its `.model` is taken).
        policy: `flag`, `abstain`, `resample`, or a callable of a `TokenEvent` whose true result ends that answer.
        threshold: Risk from which an answer is flagged, [0, 1]; None takes the artifact's own, which is about the
            probe's own position, else 0.5.
        readout: `position` is the probe's own; `running_max` the maximum over the answer's tokens, which needs a
            calibration from `calibrate_running_max`.
        samples: Draws at most under `resample`.
        min_tokens: Answer tokens before `abstain` may decide, >= 1; a probe of the prompt decides at once.
        on_token: Called with a `TokenEvent` as each token is read, whatever the policy; waits for the device each time.
        force: Accept a model other than the one the probe was fitted on.

    Raises:
        InputError: A probe that is not fitted or cannot be read token by token, another model, an unknown policy or
            readout, or a setting out of range.
    """
    hf, arch = _parts(model)
    given = Readout.of(probe, by=readout, threshold=_threshold(probe, threshold, readout))
    resolved = Policy.of(policy, given, samples=samples, min_tokens=min_tokens, on_token=on_token)
    _check_model(probe, model, hf, force)
    tap = _tap(probe, arch)
    watch = Watch(tap, given, resolved, _eos_ids(model, hf))
    with ExitStack() as stack:
        stack.enter_context(tap.attached())
        stack.enter_context(watched_generate(hf, watch, arch))
        if isinstance(model, CodeModel):
            stack.enter_context(_observed(model, watch))
        yield watch


def _parts(model: Any) -> tuple[Any, Architecture]:
    """The transformers model and where its parts are."""
    if isinstance(model, CodeModel):
        return model.hf, model.arch
    hf = model if hasattr(model, "get_output_embeddings") else getattr(model, "model", None)
    if not hasattr(hf, "get_output_embeddings"):
        raise InputError(
            f"{type(model).__name__} cannot be watched; give a CodeModel, a transformers causal LM or a pipeline"
        )
    return hf, discover(hf)  # pyright: ignore[reportArgumentType]  # wrappers of a PreTrainedModel serve as well


def _threshold(probe: ErrorProbe, threshold: float | None, readout: By) -> float:
    if threshold is not None:
        return threshold
    artifact = getattr(probe, "artifact_", None)
    # It was certified for the risk at the position, and promises nothing of another risk.
    stored = artifact.config.get("threshold") if artifact and readout == "position" else None
    return THRESHOLD if stored is None else float(stored)


def _check_model(probe: ErrorProbe, model: Any, hf: Any, force: bool) -> None:
    """Refuse another model than the probe's; a probe fitted in memory has no record of one."""
    artifact = getattr(probe, "artifact_", None)
    if artifact is None or force:
        return
    if isinstance(model, CodeModel):
        artifact.check_model(model)
        return
    expected = artifact.model["fingerprint"]
    if any(tensor.is_meta for tensor in hf.state_dict().values()):
        warnings.warn(
            f"some weights are offloaded, so it was not checked that this is the model the probe was fitted on "
            f"({artifact.model['name']}, fingerprint {expected[:12]})",
            stacklevel=5,
        )
        return
    found = fingerprint.of_weights(hf)
    if found != expected:
        raise InputError(
            f"this {artifact.kind} was fitted on {artifact.model['name']} (fingerprint {expected[:12]}), but the model "
            f"given has fingerprint {found[:12]}; give that one in the same dtype, or use force=True"
        )


class _Parts:
    """What `resolve` asks of a model."""

    def __init__(self, arch: Architecture):
        self.arch = arch


def _tap(probe: ErrorProbe, arch: Architecture) -> Tap:
    if probe.site_ == "given":
        raise InputError(
            "this probe was fitted on a bare array, so its site is not known; fit it on {(site, position): array}"
        )
    site = resolve(_Parts(arch), probe.site_)[0]  # pyright: ignore[reportArgumentType]  # it only asks for .arch
    width = site.width(arch)
    if len(probe.weight_) != width:
        raise InputError(
            f"this probe reads {len(probe.weight_)} values, but {site} of this model has {width}; give the model it "
            "was fitted on"
        )
    return Tap(arch, site, probe.weight_, probe.bias_)


def _eos_ids(model: Any, hf: Any) -> frozenset[int]:
    if isinstance(model, CodeModel):
        return model.eos_ids
    ids = hf.generation_config.eos_token_id if hf.generation_config else None
    return frozenset([ids] if isinstance(ids, int) else ids or [])


@contextmanager
def _observed(model: CodeModel, watch: Watch) -> Iterator[None]:
    """Let the library's own generation tell the watch about its batches."""
    with ExitStack() as stack:
        model.observers.append(watch)
        stack.callback(model.observers.remove, watch)
        if watch.policy.samples > 1:
            stack.enter_context(resampled(model, watch))
        yield
