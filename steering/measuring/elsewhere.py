"""Another task's vector and prompts, the controls that say whether a vector is about its task.

elsewhere = Elsewhere.of(model, "types", seed=0)      # from aliasing: copy against alias
elsewhere.directions, elsewhere.prompts
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ellora_trust.tasks import load_task
from ellora_trust.tasks.base import Example, Task
from steering.pairs import edited
from steering.vector import SteeringVector

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

N_PAIRS = 60


@dataclass(frozen=True)
class Elsewhere:
    """A task that is not the one studied.

    Attributes:
        directions: Of its own contrast, at every layer.
        prompts: Its questions as text.
    """

    directions: Mapping[str, Tensor]
    prompts: list[str]

    @classmethod
    def of(cls, model: CodeModel, task: str, *, seed: int = 0) -> Elsewhere:
        """Return aliasing (copy against alias) for types and testbed, types (plain against renamed) for the others."""
        about_types = task in ("types", "testbed")
        other = load_task("aliasing" if about_types else "types")
        pairs = _members(other, seed) if about_types else _renamed(other, seed)
        # The testbed's context is too short for worked examples.
        header = "" if task == "testbed" else other.header
        texts = [(header + first.prompt, header + second.prompt) for first, second in pairs]
        vector = SteeringVector.fit(model, texts)
        return cls(vector.directions, [first for first, _ in texts])


def _members(task: Task, seed: int) -> list[tuple[Example, Example]]:
    found: dict[object, dict[object, Example]] = defaultdict(dict)
    for example in task.examples(limit=2 * N_PAIRS, seed=seed):
        found[example.meta["pair"]][example.meta["variant"]] = example
    return [(both["copy"], both["alias"]) for both in found.values()]


def _renamed(task: Task, seed: int) -> list[tuple[Example, Example]]:
    examples = task.examples(limit=N_PAIRS, seed=seed)
    changed, _ = edited(examples, "rename_vars", seed=seed, check=False)
    original = {example.id: example for example in examples}
    return [(original[str(example.meta["edit_of"])], example) for example in changed]
