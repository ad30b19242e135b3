"""A task that needs no sandbox: what a comparison is tested on."""

from __future__ import annotations

from ellora_trust.tasks.base import Example, Outcome, Task


class Echo(Task):
    """Right where the codes of an answer's characters add up to an odd number: half of all."""

    name = "echo"
    max_new_tokens = 6

    def __init__(self) -> None:
        self.decided = 0

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        made = [Example(f"e{n}", f"g{n // 2}", f"def f{n}(x{seed}):\n    return x +", " 1") for n in range(40)]
        return made[:limit]

    def decide(self, example: Example, completion: str) -> Outcome:
        self.decided += 1
        return Outcome.CORRECT if sum(map(ord, completion)) % 2 else Outcome.WRONG

    def datasheet(self) -> str:
        return ""
