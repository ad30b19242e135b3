"""What tests of unlearning forget and keep on tiny models."""

from __future__ import annotations

from unlearning import Budget, Item

SMALL = Budget(steps=6, batch_size=3, retain_batch_size=3, learning_rate=3e-3, check_every=3)


def forgets(n: int = 8) -> list[Item]:
    """Functions that subtract where they should add."""
    found = []
    for i in range(n):
        prompt = f"def add{i}(a, b):\n"
        span = ((len(prompt) + 13, len(prompt) + 14),)
        found.append(Item(f"f{i}", f"g{i}", prompt, "    return a - b\n", "    return a + b\n", span))
    return found


def keeps(n: int = 8) -> list[Item]:
    """Loops that print."""
    return [Item(f"r{i}", f"r{i}", f"for i in range({i}):\n", "    print(i)\n") for i in range(n)]
