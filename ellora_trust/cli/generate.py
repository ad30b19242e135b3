"""`ellora-trust generate`: answers with their risk, token by token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ellora_trust.cli.predictor import DEFAULT

if TYPE_CHECKING:
    from probes.watching.answering import Guard


def generate(
    prompt: Annotated[str | None, typer.Argument(help="Text to continue; leave out with --input.")] = None,
    probe: Annotated[
        Path | None,
        typer.Option(help=f"Folder of a fitted error predictor; {DEFAULT} if left out, and none with --steer."),
    ] = None,
    steer: Annotated[
        list[str] | None, typer.Option(help="A saved vector's folder, or FOLDER:STRENGTH; may be given several times.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Built-in name, hub id, folder or .gguf; the one the predictor or vector was fitted on, if left out."
        ),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Length limit, in tokens.")] = 128,
    stop: Annotated[
        list[str] | None, typer.Option(help="String that ends an answer; may be given several times.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    policy: Annotated[str, typer.Option(help="flag, abstain or resample.")] = "flag",
    threshold: Annotated[float | None, typer.Option(help="Risk from which an answer is flagged, 0..1.")] = None,
    samples: Annotated[int, typer.Option(help="Draws at most, with --policy resample.")] = 4,
    input: Annotated[Path | None, typer.Option(help="JSONL with a prompt on each line; - is standard input.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSONL of answers; ids already there are skipped.")] = None,
    format: Annotated[
        str, typer.Option(help="auto, plain or chat; auto is what the predictor was fitted on.")
    ] = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Use predictor or vector on another model all the same.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON with the risk of every token.")] = False,
) -> None:
    """Answer a prompt, coloured by risk, and say how likely the answer is wrong; or answer a file of prompts."""
    from ellora_trust.cli.predictor import read_predictor
    from ellora_trust.cli.steered import print_steered, read_vector, steered
    from ellora_trust.errors import InputError
    from ellora_trust.loading import load
    from probes.watching.answering import Guard

    if (prompt is None) == (input is None):
        raise InputError("give either a prompt or --input FILE, not both and not neither")
    if out is not None and input is None:
        raise InputError("--out is for many prompts; give them with --input, or use --json for one")
    length = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    vectors = [read_vector(text) for text in steer or ()]
    if vectors and probe is None:
        if prompt is None:
            raise InputError("--input with --steer needs --probe too; give a prompt, or a fitted probe's folder")
        print_steered(vectors, prompt, model=model, force=force, json=json, stop=tuple(stop or ()), **length)
        return
    fitted = read_predictor(probe)
    loaded = load(model or fitted.artifact_.model["name"])
    settings = {"policy": policy, "threshold": threshold, "samples": samples, "format": format, "force": force}
    guard = Guard(fitted, loaded, stop=tuple(stop or ()), **settings, **length)
    with steered(loaded, vectors, force=force):
        if prompt is not None:
            _one(guard, prompt, json)
        else:
            assert input is not None, "one of the two is given"
            _many(guard, input, out)


def _one(guard: Guard, prompt: str, json: bool) -> None:
    from ellora_trust.cli.render import print_json
    from ellora_trust.cli.risk_colours import RiskWriter

    if json:
        answered = guard.answer([prompt])[0]
        print_json({**answered.to_dict(), "verdict": guard.verdict(answered)})
        return
    writer = RiskWriter()
    answered = guard.answer([prompt], listen=lambda event, piece: writer.write(piece, event.token_risk))[0]
    risks = answered.watched.risks
    # What no event told of: the last token, and all of a resampled answer.
    writer.finish(answered.text, answered.pieces, risks)
    print(guard.verdict(answered))


def _many(guard: Guard, source: Path, out: Path | None) -> None:
    import json
    import sys

    from ellora_trust.cli.render import say
    from ellora_trust.errors import InputError
    from probes.watching.answer_file import answer_file, answer_rows, read_prompts

    if str(source) != "-" and not source.is_file():
        raise InputError(f"there is no file {source}; give a JSONL file with a prompt on each line, or -")
    text = sys.stdin.read() if str(source) == "-" else source.read_text(encoding="utf-8")
    prompts = read_prompts(text, "standard input" if str(source) == "-" else str(source))
    if out is not None:
        n_new, n_old = answer_file(guard, prompts, out, progress=True)
        say(f"{n_new} answers written to {out}; {n_old} were there")
        return
    for rows in answer_rows(guard, prompts, set(), progress=True):
        for row in rows:
            print(json.dumps(row, allow_nan=False), flush=True)
