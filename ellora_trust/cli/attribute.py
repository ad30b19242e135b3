"""`ellora-trust attribute`: which training documents an answer comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ellora_trust.cli import attribute_components, attribute_tasks, attribute_tokens

if TYPE_CHECKING:
    from attribution.asking import Asked, Library
    from attribution.documents.fuse import Hit
    from attribution.verify import Effect
    from ellora_trust.share import Share

app = typer.Typer(
    help="Say which training documents, words of the prompt and components an answer comes from.", no_args_is_help=True
)
app.command("tokens")(attribute_tokens.tokens)
app.command("components")(attribute_components.components)
app.command("tasks")(attribute_tasks.tasks)
INDEX = Path("runs/index")


@app.command()
def index(
    source: Annotated[
        str, typer.Argument(help="testbed, testbed-lds, a folder of code, a `datasets` folder, or a hub dataset.")
    ],
    model: Annotated[str, typer.Option(help="The model that was trained on it.")] = "testbed",
    out: Annotated[Path, typer.Option(help="Folder of the index.")] = INDEX,
    column: Annotated[str, typer.Option(help="Of the text, in a dataset.")] = "text",
    split: Annotated[str, typer.Option(help="Of a dataset.")] = "train",
    limit: Annotated[int | None, typer.Option(help="Documents at most, from the first on.")] = None,
    bits: Annotated[int, typer.Option(help="Bytes a document of one-bit rows, which are looked through first.")] = 4096,
    int8: Annotated[int, typer.Option(help="Bytes a document of the rows that rank the best again; 0 for none.")] = 0,
    projection: Annotated[
        int,
        typer.Option(help="Numbers kept of each side of a layer; more is closer and slower: 512 with --bits 16384."),
    ] = 96,
    whitening: Annotated[str, typer.Option(help="kfac or none.")] = "kfac",
    seed: Annotated[int, typer.Option(help="Of the factors' sample and the sketch.")] = 0,
    shard: Annotated[
        str | None, typer.Option(help="This process's share, 1/4 to 4/4; torchrun and accelerate say theirs.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Index a corpus by the gradients of its documents; goes on where it was stopped."""
    from attribution.asking import build
    from attribution.corpora import Corpus
    from attribution.documents.building import Plan
    from ellora_trust.cachedir import size_of
    from ellora_trust.cli.render import human_size, print_json
    from ellora_trust.loading import load
    from ellora_trust.share import Share

    plan = Plan(bits=bits, int8=int8, projection=projection, whitening=whitening, seed=seed)  # pyright: ignore[reportArgumentType]  # checked there
    corpus = Corpus.open(source, column=column, split=split, limit=limit)
    complete = build(load(model), corpus, out, plan=plan, share=Share.parse(shard), progress=True)
    size, n = size_of(out), len(corpus)
    if json:
        print_json({"folder": str(out), "documents": n, "bytes": size, "complete": complete})
    elif complete:
        print(f"{out}: {n:,} documents, {human_size(size)}; ask it with ellora-trust attribute query PROMPT")
    else:
        print(f"{out}: this share is done, others of its {n:,} documents are not there yet")


@app.command()
def query(
    prompt: Annotated[str, typer.Argument(help="What the model was asked; @FILE reads it from a file.")],
    answer: Annotated[
        str | None, typer.Option(help="What it said; it is asked if left out. @FILE reads a file.")
    ] = None,
    index: Annotated[Path, typer.Option(help="Folder of the index.")] = INDEX,
    model: Annotated[str | None, typer.Option(help="The index's own if left out.")] = None,
    about: Annotated[
        str | None,
        typer.Option(help="Span that is asked about: pragma, call, annotation, 'definition(\"x\")[0]', or 20:28."),
    ] = None,
    language: Annotated[str, typer.Option(help="Of the code, for --about: python or c.")] = "python",
    foil: Annotated[
        str | None, typer.Option(help="Why not this answer? Finds best what carries a fault. @FILE reads a file.")
    ] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Also which line of each document taught it.")] = False,
    k: Annotated[int, typer.Option("-k", "--k", help="Documents to show.")] = 10,
    opponents: Annotated[bool, typer.Option("--opponents", help="What made it less likely instead.")] = False,
    max_new_tokens: Annotated[int, typer.Option(help="Of an answer that the model is asked for.")] = 64,
    verify_seeds: Annotated[
        int, typer.Option("--verify", help="Train so often without these documents and see; testbed-lds only.")
    ] = 0,
    out: Annotated[Path | None, typer.Option(help="HTML report to write.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Use the index with another model all the same.")] = False,
    shard: Annotated[str | None, typer.Option(help="This process's share of the comparisons, as for index.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Name the documents behind an answer, and say of each what it rests on: verbatim, adapted, influential only."""
    from attribution.asking import Library, chosen_span, model_of
    from ellora_trust.cli.render import given, print_json
    from ellora_trust.loading import load
    from ellora_trust.share import Share

    loaded = load(model or model_of(index))
    library = Library.open(index, loaded, force=force)
    text = given(prompt)
    said = given(answer) if answer is not None else loaded.generate([text], max_new_tokens=max_new_tokens)[0].text
    span = chosen_span(text + said, about, language) if about else None
    side: Literal["proponents", "opponents"] = "opponents" if opponents else "proponents"
    instead = given(foil) if foil is not None else None
    share = Share.parse(shard)
    if share.of > 1 and not library.scan_share(text, said, share, about=span, foil=instead):
        _say_share(share, json=json)
        return
    asked = library.ask(text, said, about=span, foil=instead, k=k, side=side)
    asked = library.with_lines(asked) if lines else asked
    if out is not None:
        _write(asked, loaded.name, out)
    if not json:
        _render(asked, out)
    found = _retrained(library, asked, verify_seeds) if verify_seeds else {}
    if json:
        print_json(asked.to_dict() | ({"verified": _plain(found)} if found else {}))
    elif found:
        _render_verified(found, asked, verify_seeds)


def _say_share(share: Share, *, json: bool) -> None:
    from ellora_trust.cli.render import print_json

    if json:
        print_json({"share": share.name, "complete": False})
    else:
        print(f"share {share.name} is done, others are not there yet; the last one, or the same command alone, answers")


@app.command()
def verify(
    prompt: Annotated[str, typer.Argument(help="What the model was asked; @FILE reads it from a file.")],
    answer: Annotated[str, typer.Option(help="What it said; @FILE reads it from a file.")],
    index: Annotated[Path, typer.Option(help="Folder of an index of all of testbed-lds.")] = INDEX,
    foil: Annotated[str | None, typer.Option(help="Judge the answer against this one; @FILE reads a file.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Documents to train without.")] = 30,
    seeds: Annotated[int, typer.Option(help="Trainings of each, 2 or more.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train again without the documents behind an answer, without as many by BM25 and at random, and compare."""
    from attribution.asking import Library
    from ellora_trust.cli.render import given, print_json
    from ellora_trust.loading import load

    library = Library.open(index, load("testbed-lds"))
    instead = given(foil) if foil is not None else None
    asked = library.ask(given(prompt), given(answer), foil=instead, k=k)
    found = _retrained(library, asked, seeds)
    print_json(_plain(found)) if json else _render_verified(found, asked, seeds)


def _retrained(library: Library, asked: Asked, seeds: int) -> dict[str, Effect]:
    from attribution.verify import verify_on_testbed

    return verify_on_testbed(library, asked, seeds=seeds, progress=True)


def _plain(found: dict[str, Effect]) -> dict[str, Any]:
    from dataclasses import asdict

    return {name: asdict(effect) for name, effect in found.items()}


def _render_verified(found: dict[str, Effect], asked: Asked, seeds: int) -> None:
    from ellora_trust.cli.render import print_table

    rows = [[f"{effect.n_removed} by {name}", f"{effect.change:+.2f}"] for name, effect in found.items()]
    what = "log p of the answer" + (" over the foil" if asked.foil is not None else "")
    print_table("", ("trained without", f"{what}, change in nats [95 %]"), rows)
    print(f"mean over {seeds} seeds, t interval; below zero: the answer came from these documents")


COLUMNS = ("document", "where", "licence", "rests on", "gradient", "n-gram", "score")


def _row(hit: Hit) -> list[str]:
    place = f"{hit.path}:{hit.lines[0]}-{hit.lines[1]}" if hit.path else f"lines {hit.lines[0]}-{hit.lines[1]}"
    basis = hit.basis if hit.sign == "proponent" else f"{hit.basis} (opponent)"
    gradient = "" if hit.gradient is None else f"{hit.gradient:+.1f}"
    return [hit.document, place, hit.licence, basis, gradient, f"{hit.ngram:+.1f}", f"{hit.score:+.1f}"]


def _render(asked: Asked, out: Path | None) -> None:
    from ellora_trust.cli.render import print_table

    whole = asked.prompt + asked.answer
    print(f"{asked.prompt}▸{asked.answer}".rstrip() + "\n")
    if asked.about:
        print(f"asked about: {whole[slice(*asked.about)]!r}\n")
    if asked.foil is not None:
        print(f"rather than: {asked.foil.strip()}\n")
    print_table("", COLUMNS, [_row(hit) for hit in asked.hits])
    for hit, text, scores in zip(asked.hits, asked.texts, asked.lines, strict=False):
        best = max(range(len(scores)), key=scores.__getitem__)
        print(f"{hit.document}: line {best + 1} most: {text.splitlines()[best].strip()}")
    print(f"of {asked.n_documents:,} documents; scores in standard deviations over them")
    if out is not None:
        print(f"open {out}")


def _write(asked: Asked, model: str, out: Path) -> None:
    from attribution.documents.page import page
    from ellora_trust.report import Table, write_html

    table = Table(COLUMNS, [_row(hit) for hit in asked.hits], "Scores in standard deviations over all documents.")
    write_html(page(asked, model, table), out)
