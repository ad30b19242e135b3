"""The error predictor that a command takes where none is named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probes.error_probe import ErrorProbe

DEFAULT = Path("runs/probe/probe-aliasing")


def read_predictor(folder: Path | None) -> ErrorProbe:
    """Load a predictor, by default the one that `ellora-trust probe` leaves.

    Raises:
        InputError: No predictor there; where the default is missing, how to make it.
    """
    from ellora_trust.errors import InputError
    from probes.error_probe import ErrorProbe

    # Who named no folder need not know what an artifact is.
    if (folder is None or folder == DEFAULT) and not DEFAULT.exists():
        raise InputError(
            f"there is no error predictor in {DEFAULT}; make one with 'ellora-trust probe', or give --probe"
        )
    return ErrorProbe.load(folder or DEFAULT)
