"""A progress bar with rate and time left, on standard error, silent when nobody watches."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from ellora_trust.quiet import is_quiet


class Progress:
    """`with Progress(total, "labelling") as bar: bar.advance(16)`.

    On a terminal it is a bar; elsewhere a line every `every` seconds, so that a log file shows the work goes on. Under
    `ellora-trust --quiet`, or with ELLORA_TRUST_QUIET set, it is silent.
    """

    def __init__(self, total: int, label: str, *, enabled: bool = True, every: float = 15.0):
        self._total, self._label, self._every = total, label, every
        self._enabled = enabled and not is_quiet()
        self._console = Console(stderr=True)
        self._done = 0
        self._bar: RichProgress | None = None

    def __enter__(self) -> Self:
        self._began = self._said = time.monotonic()
        if self._enabled and self._console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
            times = (
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            self._bar = RichProgress(*columns, *times, console=self._console)
            self._task = self._bar.add_task(self._label, total=self._total, rate="")
            self._bar.start()
        return self

    def advance(self, n: int) -> None:
        self._done += n
        if not self._enabled:
            return
        now = time.monotonic()
        rate = self._done / max(now - self._began, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, advance=n, rate=f"{rate:.1f}/s")
        elif now - self._said >= self._every:
            self._said = now
            left = (self._total - self._done) / max(rate, 1e-9)
            self._console.print(
                f"{self._label}: {self._done} of {self._total}, {rate:.1f}/s, {left:.0f} s left",
                highlight=False,
            )

    def relabel(self, label: str) -> None:
        """Say something else from now on, such as the last loss."""
        self._label = label
        if self._bar is not None:
            self._bar.update(self._task, description=label)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
