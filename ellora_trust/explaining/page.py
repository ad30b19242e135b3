"""An explanation as one page of the HTML report: answer, words, components, documents, steering, edit.

write_html(page(explanation, "runs/explain"), Path("runs/explain/report.html"))
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ellora_trust.artifacts import versions
from ellora_trust.explaining.editing import documents_to_forget
from ellora_trust.report import Block, Code, Diff, Figure, Highlight, Report, Section, Table, Text

if TYPE_CHECKING:
    from attribution.asking import Asked
    from attribution.documents.fuse import Hit
    from ellora_trust.explaining.explanation import Explanation

DOCUMENTS = ("document", "where", "licence", "rests on", "score", "the line that taught it")
TRIALS = ("direction", "answer", "log p(foil) - log p(answer)")


def page(explanation: Explanation, folder: Path | str) -> Report:
    """Return the page of one case.

    Args:
        explanation: The case.
        folder: Where it is saved, for the command that goes on from it.
    """
    said = explanation.said
    lead = f"{explanation.model} was asked one question. {said.verdict}"
    sections = [
        Section("In short", [short(explanation, folder)]),
        Section("The answer", _answer(explanation)),
        Section("Which words made it say so", _words(explanation)),
        Section("Which heads and MLPs carry it", _components(explanation)),
        Section("Which training documents taught it", _documents(explanation)),
        Section("Does it know better?", _steering(explanation)),
        Section("Can it be removed?", _unlearning(explanation, folder)),
    ]
    if explanation.task is not None:
        sections.insert(2, Section("Which task it takes this for", explanation.task.blocks()))
    provenance = {"model": explanation.model, "fingerprint": explanation.fingerprint, **explanation.settings}
    for name, (wall, processor) in explanation.seconds.items():
        provenance[f"seconds, {name}"] = f"{wall:.1f} ({processor:.1f} of the processor)"
    return Report("Why this answer?", lead, sections, {**provenance, **versions()})


def short(explanation: Explanation, folder: Path | str) -> Table:
    """Return every question with its answer in a line or two."""
    rows = [
        ["What did it say?", explanation.said.answer.strip("\n")],
        ["Is it wrong?", f"{explanation.said.verdict} {span_sentence(explanation)}"],
        ["Which words made it say so?", _strongest(explanation)],
    ]
    if explanation.task is not None:
        rows.append(["Which task does it take this for?", explanation.task.sentence()])
    if explanation.components is not None:
        rows.append(["Which heads and MLPs carry it?", ", ".join(explanation.components.best(5))])
    if explanation.documents is not None:
        found = [document_row(*one) for one in _sources(explanation.documents)]
        taught = "\n".join(f"{row[0]}, line {row[-1]}" for row in found) or "None that it clearly comes from."
        rows.append(["Which training documents taught it?", taught])
    rows.append(["Can it be removed?", explanation.unlearning(folder)[1] or explanation.unlearning(folder)[0]])
    return Table(("question", "answer"), rows)


def _strongest(explanation: Explanation) -> str:
    result = explanation.words.result
    units = sorted(result.units, key=lambda unit: -unit.score)[:3]
    return ", ".join(f"{unit.name!r} ({unit.score:+.1f} nats)" for unit in units if unit.score > 0) or "None of them."


def _sources(asked: Asked) -> list[tuple[Hit, str, list[float]]]:
    """The documents that an edit would forget, with their texts and their lines' scores."""
    targets = set(documents_to_forget(asked))
    every = zip(asked.hits, asked.texts, asked.lines, strict=True)
    return [one for number, one in enumerate(every) if number in targets]


def span_sentence(explanation: Explanation) -> str:
    """Say which characters of the answer are risky and which were asked about."""
    risky, about = explanation.risky, explanation.about
    if not explanation.said.scores:
        known = "" if explanation.said.risk is None else ": the predictor reads the prompt alone"
        first = f"No risk of single tokens is known{known}."
    elif risky.basis == "risk":
        first = f"Riskiest run of tokens: {risky.text!r}."
    else:
        first = "No run of tokens is riskier than the rest."
    if about.basis == "foil":
        meets = about.start <= risky.end and risky.start <= about.end
        overlap = f" The riskiest run {'meets' if meets else 'does not meet'} it." if risky.basis == "risk" else ""
        instead = explanation.words.result.foil
        return f"{first} Asked about: why {about.text!r} where the foil has {instead!r}.{overlap}"
    return first if about.basis == "risk" else f"{first} Asked about: the whole answer."


def _answer(explanation: Explanation) -> list[Block]:
    said, about = explanation.said, explanation.about
    risks = [*said.risks, *[0.0] * (len(said.pieces) - len(said.risks))]
    pieces = [(said.prompt, 0.0), *zip(said.pieces, risks, strict=True)]
    note = "Orange: risk of each token, which ranks tokens and is not the probability that a token is wrong."
    if not said.risks:
        pieces = [(said.prompt + said.answer[: about.start], 0.0), (about.text, 1.0), (said.answer[about.end :], 0.0)]
        note = "Orange: what was asked about."
    blocks: list[Block] = [Highlight("Prompt and answer", [p for p in pieces if p[0]], note)]
    if said.risks:
        blocks.append(
            Figure(
                _risk_figure(explanation),
                "Risk of each token of the answer, in its order; dark: asked about.",
                height=9,
            )
        )
    blocks.append(Text(span_sentence(explanation)))
    if explanation.foil is not None:
        blocks.append(Diff("What it should have said", said.answer, explanation.foil, names=("it said", "foil")))
    return blocks


def _risk_figure(explanation: Explanation) -> Any:
    import plotly.graph_objects as go

    said, about = explanation.said, explanation.about
    asked = [start < about.end and end > about.start for start, end in said.offsets]
    shown = [repr(piece) for piece in said.pieces[: len(said.risks)]]
    colours = ["rgb(150,50,0)" if inside else "rgb(214,96,30)" for inside in asked[: len(shown)]]
    figure = go.Figure(
        go.Bar(
            x=list(range(1, len(shown) + 1)),
            y=[round(risk, 4) for risk in said.risks],
            customdata=shown,
            marker={"color": colours},
            hovertemplate="token %{x}, %{customdata}: risk %{y:.2f}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis_title="token of the answer", yaxis_title="risk", margin={"l": 60, "r": 20, "t": 20, "b": 50}
    )
    figure.update_yaxes(range=[0, 1])
    return figure


def _words(explanation: Explanation) -> list[Block]:
    from attribution.prompt.views import highlight

    words = explanation.words
    # Its own title would strip the white space, which may be all that is asked about.
    shown = replace(highlight(words.result), title=f"Why {words.result.answer!r}")
    return [shown, replace(words.strongest(10), caption="")]


def _components(explanation: Explanation) -> list[Block]:
    from attribution.inside.views import components_caption, components_figure

    located = explanation.components
    if located is None:
        return [Text(explanation.pair)]
    pair = located.pairs[0]
    notes = [("answer goes on with", repr(pair.answer)), ("foil goes on with", repr(pair.foil))]
    return [
        Text(explanation.pair),
        Figure(components_figure(located.found), components_caption(located.found)),
        located.table(8),
        Code("The two prompts", f"{pair.clean}\n\n--- against ---\n\n{pair.corrupt}", notes),
    ]


def document_row(hit: Hit, text: str, scores: list[float]) -> list[str]:
    """Return the cells of one document."""
    place = f"{hit.path}:{hit.lines[0]}-{hit.lines[1]}" if hit.path else f"lines {hit.lines[0]}-{hit.lines[1]}"
    taught = ""
    if scores:  # of a document that is no source, no line is
        best = max(range(len(scores)), key=scores.__getitem__)
        taught = f"{best + 1}: {text.splitlines()[best].strip()}"
    return [hit.document, place, hit.licence, hit.basis, f"{hit.score:+.1f}", taught]


def documents_table(asked: Asked) -> Table:
    """Return the documents as a block of the report."""
    rows = [document_row(*one) for one in zip(asked.hits, asked.texts, asked.lines, strict=True)]
    caption = f"Of {asked.n_documents:,} documents; scores in standard deviations over them."
    return Table(DOCUMENTS, rows, caption)


def _documents(explanation: Explanation) -> list[Block]:
    from attribution.documents.page import page as query_page

    asked = explanation.documents
    if asked is None:
        return [Text("No index of training documents was given.")]
    table, targets = documents_table(asked), set(documents_to_forget(asked))
    blocks: list[Block] = [table]
    for number, shown in enumerate(query_page(asked, explanation.model, table).sections[-1].blocks):
        assert isinstance(shown, Highlight), "a document is shown as source text"
        blocks.append(
            replace(shown, caption=shown.caption + (" An edit would forget it." if number in targets else ""))
        )
    return blocks


def trials_table(explanation: Explanation) -> Table:
    """Return what was tried, each vector with its random direction under it."""
    answer = explanation.said.answer
    rows = []
    for trial in explanation.trials:
        if trial.note:
            rows.append([trial.name, f"not tried: {trial.note}", ""])
            continue
        for name, said, gain in (
            (trial.name, trial.answer, trial.gain),
            ("  random, as long", trial.random, trial.random_gain),
        ):
            changed = _verdict(str(said), answer, explanation.foil)
            rows.append([name, changed, "" if gain is None else f"{gain:+.2f} nats"])
    caption = "One answer each: what a vector does on many prompts is what ellora-trust steer measures."
    return Table(TRIALS, rows, caption)


def _verdict(said: str, answer: str, foil: str | None) -> str:
    if said.strip() == answer.strip():
        return "the same"
    return "the foil" if foil is not None and said.strip() == foil.strip() else "another"


def _steering(explanation: Explanation) -> list[Block]:
    if not explanation.trials:
        return [Text("No steering vector was given.")]
    blocks: list[Block] = [trials_table(explanation)]
    for trial in explanation.trials:
        if trial.answer is not None and trial.answer != explanation.said.answer:
            names = ("it said", "steered")
            blocks.append(Diff(f"With {trial.name}", explanation.said.answer, trial.answer, names=names))
    return blocks


def _unlearning(explanation: Explanation, folder: Path | str) -> list[Block]:
    sentence, command = explanation.unlearning(folder)
    blocks: list[Block] = [Text(sentence)]
    if command:
        blocks.append(Highlight("Run", [(command, 0.0)], "It leaves the model as it is and writes the edit."))
    return blocks
