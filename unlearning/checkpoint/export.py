"""An edit as an ordinary checkpoint, written only when its gates are open, or with their failure in its card.

    export(edit, model, Path("runs/repaired"), forget=forget, retain=retain)
    AutoModelForCausalLM.from_pretrained("runs/repaired")       # plain transformers

Beside the weights: tokenizer, generation config, README.md (the model card), SHA256SUMS. Nothing is half-written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError
from ellora_trust.quiet import quiet_transformers
from unlearning.checkpoint.card import card
from unlearning.checkpoint.delta import Edit, weights_sha256
from unlearning.checkpoint.gates import Gate, Limits, gates
from unlearning.data import Item
from unlearning.training.encoding import kept_row, padded

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

SUMS = "SHA256SUMS"
RESULTS = "gates.json"


def export(
    edit: Edit,
    model: CodeModel,
    out: Path,
    *,
    forget: Sequence[Item],
    retain: Sequence[Item],
    limits: Limits | None = None,
    accept_failing_gates: bool = False,
    watch: Callable[[Gate], None] | None = None,
) -> list[Gate]:
    """Write the edited model in transformers' format.

    Args:
        edit: What is applied.
        model: Its base; afterwards it is what it was.
        out: Folder of the checkpoint.
        forget: What was to go, for the gates.
        retain: What was to stay, for the gates.
        limits: Where gates close.
        accept_failing_gates: Write all the same; the card then begins with what failed.
        watch: Called with each gate as soon as it is measured.

    Returns:
        The gates, the round trip among them.

    Raises:
        InputError: A gate failed, another model, or the folder holds something that is no export.
        EnvironmentProblem: The folder cannot be written.
    """
    if out.exists() and not (out / SUMS).exists():
        raise InputError(f"{out} exists and is no export; give a new folder")
    found = gates(model, edit, forget, retain, limits, watch=watch)
    _refuse(found, accept_failing_gates)
    with replacing(out) as beside:
        with edit.apply(model):
            with quiet_transformers():
                model.hf.save_pretrained(beside)
                model.tokenizer.save_pretrained(beside)
            found.append(_round_trip(model, beside, [*forget, *retain][:8]))
            if watch is not None:
                watch(found[-1])
        _refuse(found, accept_failing_gates)
        (beside / RESULTS).write_text(json.dumps([asdict(gate) for gate in found], indent=2) + "\n", encoding="utf-8")
        (beside / "README.md").write_text(card(edit, found), encoding="utf-8")
        files = sorted(path for path in beside.iterdir() if path.is_file())
        sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
        (beside / SUMS).write_text(sums, encoding="utf-8")
    return found


def check_sums(folder: Path) -> None:
    """Raise unless every file of an export is the one that was written.

    Raises:
        InputError: No sums there, or a file is missing or has changed.
    """
    path = folder / SUMS
    if not path.is_file():
        raise InputError(f"{folder} holds no {SUMS}; give a folder that 'ellora-trust unlearn export' wrote")
    lines = [line.partition("  ") for line in path.read_text(encoding="utf-8").splitlines()]
    weights = {file.name for file in folder.glob("*.safetensors")}
    if not weights or not weights <= {Path(name).name for _, _, name in lines}:
        raise InputError(f"{path} does not name the weights that lie beside it; export the edit again")
    for expected, _, name in lines:
        file = folder / Path(name).name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise InputError(f"{file} is missing or not the file that was exported; export the edit again")


def _refuse(found: Sequence[Gate], accept: bool) -> None:
    failed = [str(gate) for gate in found if not gate.passed]
    if failed and not accept:
        raise InputError(
            f"nothing was written, since {'; '.join(failed)}; make another edit, or use --accept-failing-gates"
        )


def _round_trip(model: CodeModel, folder: Path, items: Sequence[Item]) -> Gate:
    """Load the folder with plain transformers and compare logits, weights, tying and dtype with the edited model's."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet_transformers():
        again: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=model.hf.dtype)
        again.to(model.device).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [item.prompt + item.completion for item in items]
    same = (
        weights_sha256(again) == weights_sha256(model.hf)
        and _tied(again) == _tied(model.hf)
        and [tokenizer(text).input_ids for text in texts] == [model.tokenizer(text).input_ids for text in texts]
    )
    apart = float((_logits(again, model, items) - _logits(model.hf, model, items)).abs().max())
    return Gate(
        "round trip", same and apart == 0.0, apart if same else float("inf"), 0.0, "largest difference of logits"
    )


@torch.no_grad()
def _logits(hf: Any, model: CodeModel, items: Sequence[Item]) -> Tensor:
    ids, mask = padded(model, [kept_row(model, item) for item in items])
    return hf(input_ids=ids, attention_mask=mask).logits.float()


def _tied(hf: Any) -> bool:
    return hf.get_output_embeddings().weight.data_ptr() == hf.get_input_embeddings().weight.data_ptr()
