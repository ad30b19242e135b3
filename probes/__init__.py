"""ellora-trust's error predictors: linear probes that say when a code LLM is wrong.

from probes import ErrorProbe

probe = ErrorProbe().fit(features, wrong, groups)
"""

from __future__ import annotations

from probes.error_probe import Calibration, ErrorProbe
from probes.fitting.selection import Settings
from probes.measuring.evaluation import evaluate
from probes.measuring.result import Evaluation

__all__ = ["Calibration", "ErrorProbe", "Evaluation", "Settings", "evaluate"]
