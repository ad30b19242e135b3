"""Seconds of each step, by name.

clock = Clock()
clock.lap("load")
clock.laps          # {"load": 0.61}
"""

from __future__ import annotations

import time


class Clock:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 2)
        self._last = now
