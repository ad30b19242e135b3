"""ellora-trust's unlearning: edits of a code model's weights that remove a fault and leave the rest.

from unlearning import Budget, read_forget, read_retain, unlearn

edit = unlearn(model, forget=read_forget("testbed:P1"), retain=read_retain("testbed:P1"))
"""

from __future__ import annotations

from unlearning.checkpoint.delta import Edit
from unlearning.data import Item, read_forget, read_retain
from unlearning.edit import unlearn
from unlearning.training.budget import Budget
from unlearning.training.robust import Robust
from unlearning.where import Where, random_like

__all__ = ["Budget", "Edit", "Item", "Robust", "Where", "random_like", "read_forget", "read_retain", "unlearn"]
