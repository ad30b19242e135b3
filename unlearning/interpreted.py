"""Places that interpretation chose: the best components of a finished run, or the layer of a steering vector.

    interpreted("components:runs/where:2", model)        # ["mlp.0", "head.1.3"], from `attribute components --out`
    interpreted("vector:runs/steer/vector-types", model) # ["mlp.2"]: the MLP of the layer that is steered

An edit of such a place is worth something only beside the same edit at a random place, so one is always made.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ellora_trust.artifacts import read_description
from ellora_trust.errors import InputError

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

RESULTS = "results.json"
_TEXT = re.compile(r"(components|vector):(.+?)(?::(\d+))?")
_VECTOR = "steering vector"  # the kind of artifact that `steering` saves
_SITE = re.compile(r"(?:resid|mlp|attn|head)\.(\d+)(?:\.\d+)?")


def interpreted(text: str, model: CodeModel) -> list[str] | None:
    """Return the names of the sites that a run of interpretation chose; None for a text that names no such run.

    Args:
        text: `components:FOLDER`, `components:FOLDER:N` for its N best, or `vector:FOLDER`.
        model: Of which the run must be.

    Raises:
        InputError: Nothing of that kind there, of another model, or with fewer components.
    """
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        return None
    kind, folder, n = found[1], Path(found[2]), int(found[3] or 1)
    if kind == "components":
        return _components(folder, n, model)
    if found[3]:
        raise InputError(f"--where {text!r} asks for {n} of one vector; write vector:{folder}")
    return _vector(folder, model)


def _components(folder: Path, n: int, model: CodeModel) -> list[str]:
    path = folder if folder.is_file() else folder / RESULTS
    if not path.is_file():
        raise InputError(
            f"{folder} holds no {RESULTS}; give a folder that 'ellora-trust attribute components --out FOLDER' wrote"
        )
    try:
        run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        sites, fingerprint, name = [str(row["site"]) for row in run["components"]], run["fingerprint"], run["model"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not what 'ellora-trust attribute components' found ({error!r}); run it again"
        ) from error
    if fingerprint != model.fingerprint:
        raise InputError(
            f"{path} is of {name} (fingerprint {str(fingerprint)[:12]}), but {model.name} (fingerprint "
            f"{model.fingerprint[:12]}) is edited; run 'ellora-trust attribute components' on that one"
        )
    if not 1 <= n <= len(sites):
        raise InputError(f"the best {n} of {len(sites)} components in {path} were asked for; use 1..{len(sites)}")
    return sites[:n]


def _vector(folder: Path, model: CodeModel) -> list[str]:
    saved = read_description(folder)
    if saved.kind != _VECTOR:
        raise InputError(
            f"{folder} holds a {saved.kind}, not a {_VECTOR}; give a folder that 'ellora-trust steer' wrote"
        )
    saved.check_model(model)
    # A vector for which nobody chose has directions everywhere, which says nothing of where.
    chosen = saved.config.get("sites") or ()
    layers = sorted({int(found[1]) for site in chosen if (found := _SITE.fullmatch(site))})
    if not layers:
        raise InputError(
            f"{folder} is a vector without a chosen layer; give one that 'ellora-trust steer' chose, or mlp.L"
        )
    return [f"mlp.{layer}" for layer in layers]
