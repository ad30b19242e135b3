"""The `resample` policy for the library's own `generate`: risky prompts are answered again with another seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ellora_trust.decoding import Generation
from ellora_trust.errors import InputError
from ellora_trust.model import CodeModel
from probes.watching.answer import WatchedAnswer
from probes.watching.policies import least_risky
from probes.watching.watch import Watch


@contextmanager
def resampled(model: CodeModel, watch: Watch) -> Iterator[None]:
    """Inside the `with`, `model.generate` draws flagged answers again and keeps the least risky of each prompt.

    Raises:
        InputError: In `generate`, at temperature 0, where every draw would be the same.
    """
    original = model.generate

    def generate(prompts: Sequence[str], **settings: Any) -> list[Generation]:
        if not settings.get("temperature"):
            raise InputError(
                "policy 'resample' draws again, but nothing is drawn at temperature 0; give a temperature, such as 0.8"
            )
        seeds = iter(range(settings.pop("seed", 0), 2**62))

        def draw(rows: Sequence[int] | None) -> list[tuple[Generation, WatchedAnswer]]:
            some = prompts if rows is None else [prompts[row] for row in rows]
            return list(zip(original(some, **settings, seed=next(seeds)), watch.answers, strict=True))

        kept = least_risky(draw, watch.policy.samples)
        watch.replace([answer for _, answer in kept])
        return [generation for generation, _ in kept]

    # An attribute of the instance hides the method until it is deleted.
    model.generate = generate  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        del model.generate
