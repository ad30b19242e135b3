"""`ellora-trust probe score`: where an error predictor sees risk in source that exists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ellora_trust.cli.predictor import DEFAULT

if TYPE_CHECKING:
    from probes.watching.riskmap import RiskMap

LANGUAGES = {".py": "python", ".c": "c", ".h": "c"}


def score(
    files: Annotated[list[Path], typer.Argument(help="Source files; statements for .py, .c and .h.")],
    probe: Annotated[Path, typer.Option(help="Folder of a fitted error predictor.")] = DEFAULT,
    model: Annotated[str | None, typer.Option(help="The one the predictor was fitted on, if left out.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Use the predictor on another model all the same.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON: lines, statements, shift.")] = False,
) -> None:
    """Give each line of source files a risk, and say how far they are from what the predictor was fitted on."""
    from ellora_trust.cli.predictor import read_predictor
    from ellora_trust.cli.render import print_json
    from ellora_trust.errors import InputError
    from ellora_trust.loading import load
    from probes.watching.riskmap import score_source

    missing = [path for path in files if not path.is_file()]
    if missing:
        raise InputError(f"there is no file {missing[0]}; give source files")
    fitted = read_predictor(probe)
    loaded = load(model or fitted.artifact_.model["name"])
    maps = {
        str(path): score_source(fitted, loaded, _text(path), LANGUAGES.get(path.suffix), force=force)  # pyright: ignore
        for path in files
    }
    if json:
        print_json({name: found.to_dict() for name, found in maps.items()})
        return
    for name, found in maps.items():
        _render(name, found)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _render(name: str, found: RiskMap) -> None:
    from ellora_trust.cli.risk_colours import RiskWriter

    print(name)
    writer = RiskWriter()
    for line in found.lines:
        writer.write(f"{line.line:5} {line.risk:5.2f}  {line.text}\n", line.risk)
    if found.shift is not None:
        print(f"\n{found.shift.sentence} Risks rank the lines of this file.")
