"""ellora-trust's error predictors: linear probes that say when a code LLM is wrong.

from probes import ErrorProbe

probe = ErrorProbe().fit(features, wrong, groups)
"""

from __future__ import annotations

from probes.error_probe import Calibration, ErrorProbe
from probes.evaluation import evaluate
from probes.result import Evaluation
from probes.selection import Settings

__all__ = ["Calibration", "ErrorProbe", "Evaluation", "Settings", "evaluate"]
