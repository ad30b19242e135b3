"""The same edit at a random place: what an edit of a place that interpretation chose is always compared with.

    edit, control = beside_control(make, Where.parse("components:runs/where", model), model, seed=0, out=folder)

`control` is None where a person chose the place, or everything may change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unlearning.checkpoint.delta import Edit
from unlearning.where import Where, random_like

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

FOLDER = "control"  # within the edit's

# Edits a place, in a folder or in none; everything else is the same for both.
Make = Callable[[Where, Path | None], Edit]


def beside_control(
    make: Make, where: Where, model: CodeModel, *, seed: int, out: Path | None = None
) -> tuple[Edit, Edit | None]:
    """Make an edit and, where interpretation chose its place, the same at a random place of the same size.

    Args:
        make: Makes one; called once or twice.
        where: Of the edit.
        model: The model.
        seed: Of the random place.
        out: Folder of the edit; its control lies in a folder within.

    Raises:
        InputError: There is no other place for a control, in which case nothing is edited.
    """
    if where.chosen_by is None:
        return make(where, out), None
    elsewhere = random_like(where, model, seed)
    # Their own names from here on, so that neither asks for a control again.
    edit = make(replace(where, chosen_by=None), out)
    return edit, make(elsewhere, None if out is None else out / FOLDER)
