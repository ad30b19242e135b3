"""Text coloured by risk on a terminal; plain where nobody sees colours (no terminal, NO_COLOR)."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Risk from which a colour holds, highest first.
COLOURS = ((0.75, "bold red"), (0.5, "red"), (0.25, "yellow"))


def colour(risk: float) -> str:
    """Return the rich style of a risk in [0, 1]; empty for a low one."""
    return next((style for least, style in COLOURS if risk >= least), "")


def visible(text: str) -> str:
    """Return text without what a terminal would obey: generated text may hold escape sequences."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", text)


class RiskWriter:
    """Writes an answer piece by piece."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, soft_wrap=True)
        self._n_written = 0

    def write(self, piece: str, risk: float) -> None:
        """Write text in the colour of its risk."""
        from rich.text import Text

        if self._console.is_terminal:
            self._console.print(Text(visible(piece), style=colour(risk)), end="")
        else:
            self._console.file.write(piece)
        self._console.file.flush()
        self._n_written += len(piece)

    def finish(self, text: str, pieces: Sequence[str], risks: Sequence[float]) -> None:
        """Write what is left of an answer's text, each piece in its colour, and end the line."""
        at, written = 0, self._n_written
        for piece, risk in zip(pieces, risks, strict=True):
            shown = text[max(at, written) : at + len(piece)]
            at += len(piece)
            if shown:
                self.write(shown, risk)
        self.write(text[max(at, written) :] + "\n", 0.0)
