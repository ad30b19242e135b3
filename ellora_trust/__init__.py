"""ellora-trust: find out when a code LLM is wrong, why, and repair it.

    import ellora_trust as et

    model = et.load("smollm2")
    labelled = et.label(model, et.load_task("aliasing"), limit=100)

Names are resolved when they are first used: importing the package loads no torch.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attribution import GradientIndex
    from ellora_trust.architecture import Architecture, discover
    from ellora_trust.artifacts import Artifact
    from ellora_trust.errors import EnvironmentProblem, InputError
    from ellora_trust.evaluation.asking.suite import Suite
    from ellora_trust.evaluation.comparing import compare
    from ellora_trust.evaluation.comparison import Comparison
    from ellora_trust.explaining.explain import explain
    from ellora_trust.explaining.explanation import Explanation
    from ellora_trust.hooks import Recorder, capture, edit
    from ellora_trust.intervention import ActivationEdit, Chain, Intervention, Nothing, WeightChange
    from ellora_trust.labeling import Labelled, label
    from ellora_trust.loading import load
    from ellora_trust.model import CodeModel
    from ellora_trust.positions import Passage
    from ellora_trust.sandbox import Sandbox
    from ellora_trust.sites import Site
    from ellora_trust.store import Activations
    from ellora_trust.tasks import load_task, task_names
    from ellora_trust.tasks.base import Example, Outcome, Task
    from probes import ErrorProbe
    from steering import SteeringVector
    from unlearning import Edit, unlearn

# Public name -> module it lives in.
_HOME = {
    "ActivationEdit": "ellora_trust.intervention",
    "Activations": "ellora_trust.store",
    "Architecture": "ellora_trust.architecture",
    "Artifact": "ellora_trust.artifacts",
    "Chain": "ellora_trust.intervention",
    "CodeModel": "ellora_trust.model",
    "Comparison": "ellora_trust.evaluation.comparison",
    "Edit": "unlearning",
    "EnvironmentProblem": "ellora_trust.errors",
    "ErrorProbe": "probes",
    "Example": "ellora_trust.tasks.base",
    "Explanation": "ellora_trust.explaining.explanation",
    "GradientIndex": "attribution",
    "InputError": "ellora_trust.errors",
    "Intervention": "ellora_trust.intervention",
    "Labelled": "ellora_trust.labeling",
    "Nothing": "ellora_trust.intervention",
    "Outcome": "ellora_trust.tasks.base",
    "Passage": "ellora_trust.positions",
    "Recorder": "ellora_trust.hooks",
    "Sandbox": "ellora_trust.sandbox",
    "Site": "ellora_trust.sites",
    "SteeringVector": "steering",
    "Suite": "ellora_trust.evaluation.asking.suite",
    "Task": "ellora_trust.tasks.base",
    "WeightChange": "ellora_trust.intervention",
    "capture": "ellora_trust.hooks",
    "compare": "ellora_trust.evaluation.comparing",
    "discover": "ellora_trust.architecture",
    "edit": "ellora_trust.hooks",
    "explain": "ellora_trust.explaining.explain",
    "label": "ellora_trust.labeling",
    "load": "ellora_trust.loading",
    "load_task": "ellora_trust.tasks",
    "task_names": "ellora_trust.tasks",
    "unlearn": "unlearning",
}

__all__ = [
    "ActivationEdit",
    "Activations",
    "Architecture",
    "Artifact",
    "Chain",
    "CodeModel",
    "Comparison",
    "Edit",
    "EnvironmentProblem",
    "ErrorProbe",
    "Example",
    "Explanation",
    "GradientIndex",
    "InputError",
    "Intervention",
    "Labelled",
    "Nothing",
    "Outcome",
    "Passage",
    "Recorder",
    "Sandbox",
    "Site",
    "SteeringVector",
    "Suite",
    "Task",
    "WeightChange",
    "capture",
    "compare",
    "discover",
    "edit",
    "explain",
    "label",
    "load",
    "load_task",
    "task_names",
    "unlearn",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ellora_trust' has no attribute {name!r}")
    home = _HOME[name]
    if not home.startswith("ellora_trust"):
        _refuse_shadow(home.split(".")[0])
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])


def _refuse_shadow(package: str) -> None:
    """The method packages have generic names: make sure the one found is ours.

    Raises:
        InputError: Another file or folder of that name comes first on the path.
    """
    from ellora_trust.errors import InputError

    spec = find_spec(package)
    found = Path(spec.origin) if spec and spec.origin else None
    if found is None or not (found.parent / "py.typed").exists() or "ellora-trust" not in found.read_text()[:200]:
        where = found or (next(iter(spec.submodule_search_locations or []), "?") if spec else "nothing")
        raise InputError(f"{where} hides ellora-trust's package '{package}'; rename it or leave its folder")
