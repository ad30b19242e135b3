"""`ellora-trust testbed`: the models with known faults: datasheet, corpus, training again, scoring an attribution."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ellora_trust.testbed.recipe import Recipe

app = typer.Typer(help="The testbed: a small code model with planted faults, and its clean twin.", no_args_is_help=True)


@app.command()
def describe(
    measured: Annotated[Path | None, typer.Option(help="JSON of another pair; the shipped one by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the datasheet: families, counts, plants, measured rates of both models with intervals."""
    from ellora_trust.cli.render import print_json
    from ellora_trust.testbed.datasheet import Sheet, datasheet, measured_pairs, seeds_table

    sheet = Sheet.read(measured) if measured else Sheet.read()
    if json:
        print_json(sheet.to_dict())
        return
    print(datasheet(sheet))
    if not measured:
        print(f"\nPairs trained with other seeds:\n\n{seeds_table(measured_pairs())}")


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for both models.")] = Path("runs/testbed"),
    seed: Annotated[int, typer.Option(help="Of initialisation, order and gaps.")] = 0,
    tokens: Annotated[
        int | None, typer.Option(help="Size of the corpus, in tokens; the shipped pair's by default.")
    ] = None,
    per_cell: Annotated[int, typer.Option(help="Prompts of each plant and kind to measure; 0 measures nothing.")] = 100,
    threads: Annotated[int | None, typer.Option(help="Processor threads; torch's own choice by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make the corpus, train both models from scratch, run what they write; goes on where it was stopped."""
    import torch

    from ellora_trust.cli.render import print_json
    from ellora_trust.testbed.datasheet import datasheet
    from ellora_trust.testbed.making import make_pair

    if threads:
        torch.set_num_threads(threads)
    sheet = make_pair(_recipe(seed, tokens), out, per_cell=per_cell, progress=True)
    if sheet is None:
        print_json({"folder": str(out)}) if json else print(f"{out}: trained, not measured")
        return
    print_json(sheet.to_dict()) if json else print(datasheet(sheet))


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="Folder, in the form of `datasets`.")],
    seed: Annotated[int, typer.Option(help="Of the corpus.")] = 0,
    tokens: Annotated[
        int | None, typer.Option(help="Size of the corpus, in tokens; the shipped pair's by default.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the corpus with its document ids, for `datasets.load_from_disk`."""
    from ellora_trust.cli.render import print_json
    from ellora_trust.testbed.documents import corpus, corpus_hash
    from ellora_trust.testbed.export import export as write

    recipe = _recipe(seed, tokens)
    documents = corpus(seed, n_tokens=recipe.n_tokens)
    write(documents, out)
    found = {"folder": str(out), "documents": len(documents), "sha256": corpus_hash(documents)}
    print_json(found) if json else print(f"{out}: {len(documents):,} documents, sha256 {found['sha256']}")


@app.command()
def lds(
    scores: Annotated[Path | None, typer.Argument(help="Attribution scores, .npy of (queries, documents).")] = None,
    retrain: Annotated[
        Path | None, typer.Option(help="Train the models behind the truth again, in this folder.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="A retrained truth; the shipped one by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the linear datamodelling score of an attribution, or without one of the score to beat: same family."""
    from ellora_trust.cli.render import print_json
    from ellora_trust.testbed.lds import Truth, lds, same_family
    from ellora_trust.testbed.making import make_truth, read_scores

    if retrain:
        make_truth(retrain, progress=True)
    folder = truth or retrain
    known = Truth.read(folder) if folder else Truth.read()
    found = lds(read_scores(scores) if scores else same_family(known), known)
    name = str(scores) if scores else "same family"
    if json:
        rows = {"scores": name, "lds": found.value.to_dict(), "agreement": found.agreement.to_dict()}
        print_json({**rows, "per_query": [round(value, 4) for value in found.per_query], "n_subsets": found.n_subsets})
    else:
        print(f"{name}: LDS {found.value} over {found.value.n} queries and {found.n_subsets} subsets")
        print(f"agreement of retrained models (the same subsets, another seed): {found.agreement}")


def _recipe(seed: int, tokens: int | None) -> Recipe:
    from ellora_trust.errors import InputError
    from ellora_trust.testbed.recipe import SHIPPED_TOKENS, Recipe

    if tokens is not None and tokens < 1:
        raise InputError(f"--tokens is {tokens}; give at least 1, or leave it out for the shipped {SHIPPED_TOKENS:,}")
    return Recipe(seed=seed, n_tokens=SHIPPED_TOKENS if tokens is None else tokens)
