"""`ellora-trust explain`: one prompt, its answer, and what is behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ellora_trust.explaining.explanation import Explanation
    from steering import SteeringVector


def explain(
    prompt: Annotated[str, typer.Argument(help="What the model is asked; @FILE reads it from a file.")],
    model: Annotated[
        str | None, typer.Option(help="Built-in name, hub id, folder or .gguf; the predictor's or index's own.")
    ] = None,
    probe: Annotated[Path | None, typer.Option(help="Folder of an error predictor: risk of each token.")] = None,
    index: Annotated[Path | None, typer.Option(help="Folder of an attribution index: training documents.")] = None,
    steer: Annotated[
        list[str] | None, typer.Option(help="A saved vector's folder, or FOLDER:STRENGTH; may be given several times.")
    ] = None,
    tasks: Annotated[Path | None, typer.Option(help="Folder of task vectors: which task it takes this for.")] = None,
    foil: Annotated[
        str | None, typer.Option(help="The whole answer that it should have given; @FILE reads it from a file.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="A prompt after which the foil is right; one is looked for if left out. Or @FILE."),
    ] = None,
    language: Annotated[str, typer.Option(help="Of prompt and answer: python or c.")] = "python",
    k: Annotated[int, typer.Option("-k", "--k", help="Training documents to name.")] = 5,
    max_new_tokens: Annotated[int, typer.Option(help="Length limit of the answer, in tokens.")] = 64,
    stop: Annotated[list[str] | None, typer.Option(help="String that ends the answer; several times.")] = None,
    format: Annotated[
        str, typer.Option(help="auto, plain or chat; auto is what the predictor was fitted on.")
    ] = "auto",
    out: Annotated[Path, typer.Option(help="Folder of report.html, results.json and what an edit reads.")] = Path(
        "runs/explain"
    ),
    force: Annotated[bool, typer.Option("--force", help="Use what was made for another model all the same.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead.")] = False,
) -> None:
    """Say of one answer how risky it is, which words, components and documents are behind it, what might mend it."""
    from ellora_trust.cli.render import given, print_json
    from ellora_trust.cli.steered import read_vector
    from ellora_trust.explaining.explain import explain as explained

    vectors = {name: read_vector(name) for name in steer or ()}
    explanation = explained(
        model or _its_model([probe, index, tasks], vectors),
        given(prompt),
        probe=probe,
        index=index,
        vectors=vectors,
        tasks=tasks,
        foil=given(foil) if foil is not None else None,
        against=given(against) if against is not None else None,
        language=language,  # pyright: ignore[reportArgumentType]  # checked where it is used
        k=k,
        max_new_tokens=max_new_tokens,
        stop=stop or (),
        format=format,
        force=force,
        progress=True,
    )
    explanation.save(out)
    print_json(explanation.to_dict()) if json else _render(explanation, out)


def _its_model(folders: Sequence[Path | None], vectors: Mapping[str, SteeringVector]) -> str:
    """The model that one of these was made for; the default one without any."""
    from ellora_trust.artifacts import read_description

    made = [read_description(folder) for folder in folders if folder is not None]
    made += [vector.artifact for vector in vectors.values() if vector.artifact is not None]
    return next((str(one.model["name"]) for one in made), "smollm2")


def _render(explanation: Explanation, out: Path) -> None:
    from ellora_trust.explaining.page import span_sentence

    _print_answer(explanation)
    print(f"{explanation.said.verdict}\n{span_sentence(explanation)}")
    if explanation.task is not None:
        _heading("Which task it takes this for")
        print(explanation.task.sentence())
    _reasons(explanation)
    _remedies(explanation, out)
    wall, processor = explanation.total_seconds
    print(f"\n{wall:.1f} s ({processor:.1f} s of the processor); open {out}/report.html")


def _reasons(explanation: Explanation) -> None:
    """Words, components, documents."""
    from rich.console import Console

    from attribution.prompt.views import coloured
    from ellora_trust.cli.risk_colours import visible
    from ellora_trust.explaining.page import documents_table

    _heading("Which words made it say so")
    Console(highlight=False, soft_wrap=True).print(coloured(explanation.words.result))
    _table(explanation.words.strongest(5))
    _heading("Which heads and MLPs carry it")
    print(visible(explanation.pair))
    if explanation.components is not None:
        _table(explanation.components.table(5))
    _heading("Which training documents taught it")
    if explanation.documents is None:
        print("No index of training documents was given.")
    else:
        _table(documents_table(explanation.documents))


def _remedies(explanation: Explanation, out: Path) -> None:
    """Vectors that were tried, and the edit that would follow."""
    from ellora_trust.explaining.page import trials_table

    _heading("Does it know better?")
    if explanation.trials:
        _table(trials_table(explanation))
    else:
        print("No steering vector was given.")
    _heading("Can it be removed?")
    print("\n".join(part for part in explanation.unlearning(out) if part))


def _print_answer(explanation: Explanation) -> None:
    from ellora_trust.cli.risk_colours import RiskWriter, visible

    said = explanation.said
    print(visible(said.prompt) + "▸", end="", flush=True)
    risks = [*said.risks, *[0.0] * (len(said.pieces) - len(said.risks))]
    RiskWriter().finish(visible(said.answer), said.pieces, risks)


def _heading(text: str) -> None:
    print(f"\n{text}")


def _table(table: object) -> None:
    from ellora_trust.cli.render import print_table
    from ellora_trust.cli.risk_colours import visible
    from ellora_trust.report import Table

    assert isinstance(table, Table)
    print_table("", table.columns, [[visible(cell) for cell in row] for row in table.rows])
    print(visible(table.caption))
