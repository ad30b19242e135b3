"""What an edit of the weights would forget and keep, by which objective, and why.

plan = plan_edit(library, asked)
plan.sentence, plan.command("testbed", "runs/explain")
plan.save(Path("runs/explain"))              # forget.json and retain.json, as `ellora-trust unlearn` reads them

| what is known | objective | what stays |
|---|---|---|
| the right form of the fault that they carry (the testbed) | replace | its near-misses, and others |
| names that the foil has otherwise | replace | documents without them, like the prompt |
| no fix | npo | a random draw |
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from attribution.asking import Asked, Library
    from attribution.documents.building import Source

FORGET, RETAIN = "forget.json", "retain.json"
# Documents to keep for each one to forget, and at least so many: an edit holds some of both sides back.
KEPT, LEAST_KEPT = 2, 16
# Documents among which those like the prompt are looked for, however large the corpus.
MOST_COMPARED = 2_000


@dataclass(frozen=True)
class EditPlan:
    """One edit that would follow.

    Attributes:
        forget: Documents found that are a source of the answer: hits and texts.
        retain: Documents to keep, likewise.
        fix: Why a fix is known and where from; empty where none is.
        source: What the command reads instead of the two files, such as `testbed:P3`; empty for the files.
        kept: What stays, in words.
    """

    forget: Mapping[str, Any]
    retain: Mapping[str, Any]
    fix: str = ""
    source: str = ""
    kept: str = ""

    @property
    def objective(self) -> str:
        """`replace` where there is something to teach in its place, else `npo`."""
        return "replace" if self.fix else "npo"

    @property
    def sentence(self) -> str:
        """Say what would be forgotten, what taught in its place, and why."""
        names = [hit["document"] for hit in self.forget["hits"]]
        if not names:
            return "None of the documents found is a source of the answer, so an edit would have no target."
        listed = f"{len(names)} document{'s' if len(names) > 1 else ''}: {', '.join(names)}"
        what = f"what {self.source} names, found in {listed}" if self.source else listed
        why = (
            f"{self.fix}, so the default objective, replace, teaches the right form"
            if self.fix
            else "No fix of theirs is known, so there is nothing to teach in their place: npo only lowers them"
        )
        return f"An edit would forget {what}. {why}. What it keeps: {self.kept}."

    def command(self, model: str, folder: Path | str) -> str:
        """Return the command that makes the edit; empty where there is no target.

        Args:
            model: Name of the model.
            folder: Where the plan is saved.
        """
        if not self.forget["hits"]:
            return ""
        forget, retain = (self.source or f"{folder}/{name}" for name in (FORGET, RETAIN))
        # The default objective goes without saying.
        objective = "" if self.fix else f" --objective {self.objective}"
        model, forget, retain, out = (shlex.quote(one) for one in (model, forget, retain, f"{folder}/edit"))
        return f"ellora-trust unlearn --model {model} --forget {forget} --retain {retain}{objective} --out {out}"

    def save(self, folder: Path) -> None:
        """Write both files, where there is something to forget."""
        from ellora_trust.report import write_json

        if self.forget["hits"]:
            write_json(self.forget, folder / FORGET)
            write_json(self.retain, folder / RETAIN)


def documents_to_forget(asked: Asked) -> list[int]:
    """Return the numbers of the hits that an edit would forget: those that made the answer likelier and are its source
    by text or gradient, not the ones that merely rank first."""
    return [n for n, hit in enumerate(asked.hits) if hit.sign == "proponent" and hit.basis != "weak"]


def plan_edit(library: Library, asked: Asked, *, seed: int = 0) -> EditPlan:
    """Return the edit that would take back what the documents found have taught.

    Args:
        library: Where they come from.
        asked: What was found.
        seed: Of what is kept.
    """
    chosen = documents_to_forget(asked)
    forget = _targets(asked, chosen)
    drawn = _drawn(library, {hit.document for hit in asked.hits}, seed)
    wanted = max(KEPT * len(chosen), LEAST_KEPT)
    plant = _plant(library, [asked.hits[n].document for n in chosen])
    if plant:
        fix = f"They carry {plant}, of which the testbed knows every right form"
        kept = "near-misses, where the same form is right, and families without a fault"
        return EditPlan(forget, _listed(drawn[:wanted]), fix, f"testbed:{plant}", kept)
    names, mended = _names(asked, chosen)
    if names:
        told = ", ".join(f"{new!r} for {old!r}" for old, new in names.items())
        without = [one for one in drawn if not any(name in one.text for name in names)]
        alike = _most_alike(asked.prompt, without, wanted // 2)
        rest = [one for one in without if one not in alike]
        kept = "documents without these names, half of them the most like the prompt"
        # With answer and foil in it, the file tells `unlearn` which names are mended.
        forget = {**_targets(asked, mended), "answer": asked.answer, "foil": asked.foil}
        fix = f"The foil has {told}, which mends the documents too"
        return EditPlan(forget, _listed([*alike, *rest][:wanted]), fix, "", kept)
    return EditPlan(forget, _listed(drawn[:wanted]), kept="a random draw, as nobody has said what must not change")


def _targets(asked: Asked, numbers: Sequence[int]) -> dict[str, Any]:
    hits = [{"document": asked.hits[n].document, "cluster": asked.hits[n].cluster} for n in numbers]
    return {"hits": hits, "texts": [asked.texts[n] for n in numbers]}


def _drawn(library: Library, found: set[str], seed: int) -> list[Source]:
    """Documents in a random order, without those found."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(library.corpus), generator=generator)[: MOST_COMPARED + len(found)].tolist()
    return [one for one in (library.corpus[number] for number in order) if one.id not in found]


def _listed(documents: Sequence[Source]) -> dict[str, Any]:
    hits = [{"document": one.id, "cluster": one.id} for one in documents]
    return {"hits": hits, "texts": [one.text for one in documents]}


def _plant(library: Library, chosen: Sequence[str]) -> str:
    """The fault that half or more of the documents carry, where the corpus says so; else nothing."""
    from attribution.corpora import TESTBED

    if library.corpus.where.source not in TESTBED or not chosen:
        return ""
    wanted = set(chosen)
    plants = Counter(str(one.columns.get("plant") or "") for one in library.corpus if one.id in wanted)
    plant, n = max(plants.items(), key=lambda item: (bool(item[0]), item[1]))
    return plant if 2 * n >= len(chosen) else ""


def _names(asked: Asked, chosen: Sequence[int]) -> tuple[dict[str, str], list[int]]:
    """Names that the foil has otherwise, and the documents to forget that hold one; neither where none does."""
    from unlearning.sources.found import carries, renamed

    names = renamed(asked.answer, asked.foil or "")
    mended = [n for n in chosen if carries(asked.texts[n], names)]
    return (names, mended) if mended else ({}, [])


def _most_alike(prompt: str, documents: Sequence[Source], n: int) -> list[Source]:
    from attribution.documents.bm25 import bm25_scores

    if not documents:
        return []
    (scores,) = bm25_scores([prompt], [one.text for one in documents])
    return [documents[number] for number in (-scores).argsort(kind="stable")[:n]]
