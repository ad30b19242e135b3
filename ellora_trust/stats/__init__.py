"""The statistics that every number carries, in one place to import from.

`intervals` makes intervals, `discrimination` and `calibration` the numbers themselves, `significance`
tests against chance, and `equivalence` tests for no difference.

    from ellora_trust.stats import auroc, group_bootstrap

    print(group_bootstrap(auroc, (is_wrong, risk), problem))     # 0.742 [0.701, 0.781]
"""

from __future__ import annotations

from ellora_trust.stats.calibration import brier, brier_skill, expected_calibration_error
from ellora_trust.stats.discrimination import (
    auroc,
    hanley_mcneil_se,
    sample_size_for_auroc,
    weighted_auroc,
    within_group_auroc,
)
from ellora_trust.stats.equivalence import Equivalence, tost_paired
from ellora_trust.stats.intervals import Estimate, group_bootstrap, group_bootstraps, paired_bootstrap, wilson
from ellora_trust.stats.significance import (
    McNemarResult,
    PermutationResult,
    holm,
    mcnemar,
    permutation_test,
    permute_by_group,
)

__all__ = [
    "Equivalence",
    "Estimate",
    "McNemarResult",
    "PermutationResult",
    "auroc",
    "brier",
    "brier_skill",
    "expected_calibration_error",
    "group_bootstrap",
    "group_bootstraps",
    "hanley_mcneil_se",
    "holm",
    "mcnemar",
    "paired_bootstrap",
    "permutation_test",
    "permute_by_group",
    "sample_size_for_auroc",
    "tost_paired",
    "weighted_auroc",
    "wilson",
    "within_group_auroc",
]
