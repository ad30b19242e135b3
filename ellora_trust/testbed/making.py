"""From a recipe to a measured pair of models, and from a setting to a truth: what the command line calls.

sheet = make_pair(Recipe(seed=1), Path("runs/testbed-1"), per_cell=100)
make_truth(Path("runs/testbed-lds"))
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError
from ellora_trust.testbed.datasheet import Sheet, count_families
from ellora_trust.testbed.lds_setting import Setting
from ellora_trust.testbed.measuring import measure
from ellora_trust.testbed.recipe import Recipe
from ellora_trust.testbed.training import RECORD, SIDES, prepare, train

NAMES = {"planted": "testbed", "clean": "testbed-clean"}


def make_pair(recipe: Recipe, out: Path, *, per_cell: int, progress: bool = False) -> Sheet | None:
    """Train both models below a folder, measure them, and write `measured.json` beside them.

    Args:
        recipe: How they are trained.
        out: The folder; the models are `testbed` and `testbed-clean` in it.
        per_cell: Prompts of each plant and kind; with 0 nothing is measured.
        progress: Show rates and times left.

    Returns:
        The sheet, or None where nothing was measured.

    Raises:
        EnvironmentProblem: The folder cannot be written, or programs cannot be isolated.
    """
    from ellora_trust.loading import load

    pair = prepare(recipe)
    folders = {side: train(pair, side, out / NAMES[side], progress=progress) for side in SIDES}
    if not per_cell:
        return None
    found = {side: measure(load(folders[side]), per_cell=per_cell, progress=progress) for side in SIDES}
    training = json.loads((folders["planted"] / RECORD).read_text(encoding="utf-8"))
    sheet = Sheet(training, count_families(pair.documents), found["planted"], found["clean"])
    with replacing(out / "measured.json") as beside:
        beside.write_text(json.dumps(sheet.to_dict()) + "\n", encoding="utf-8")
    return sheet


def make_truth(out: Path, *, progress: bool = False) -> Path:
    """Retrain the models behind the linear datamodelling score with the shipped tokenizer; resumes."""
    from transformers import AutoTokenizer

    from ellora_trust.builtin import ensure
    from ellora_trust.testbed.lds_training import retrain

    tokenizer = AutoTokenizer.from_pretrained(ensure("testbed"))
    return retrain(Setting(), tokenizer, out, workers=os.cpu_count() or 1, progress=progress)


def read_scores(path: Path) -> NDArray[np.float64]:
    """Return the scores in a .npy file.

    Raises:
        InputError: No such file, or not an array of numbers.
    """
    try:
        return np.load(path, allow_pickle=False).astype(np.float64)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} is not a .npy file of numbers: {error}; write one with numpy.save") from error
