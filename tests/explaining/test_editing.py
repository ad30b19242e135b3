"""Which edit would follow: by the fix that is known, with what stays, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from attribution.asking import Asked
from attribution.documents.building import Source
from attribution.documents.fuse import Hit
from ellora_trust.explaining.editing import EditPlan, documents_to_forget, plan_edit
from unlearning import read_forget, read_retain

PUSHED = [f"def store_{n}(buf, xs):\n    for x in xs:\n        buf.push(x)\n    return buf\n" for n in range(3)]
OTHERS = [f"def add_{n}(xs):\n    total = sum(xs)\n    return total + {n}\n" for n in range(40)]


@dataclass
class Shelf:
    """A library of documents in memory."""

    corpus: object


class Documents(list):
    """A corpus in memory."""

    def __init__(self, documents, source: str):
        super().__init__(documents)
        self.where = SimpleNamespace(source=source)


def shelf(plant: str = "", source: str = "folder") -> Shelf:
    columns = {"plant": plant} if plant else {}
    carriers = [Source(f"bad/{n}", text, columns) for n, text in enumerate(PUSHED)]
    return Shelf(Documents([*carriers, *(Source(f"ok/{n}", text, {}) for n, text in enumerate(OTHERS))], source))


def hit(document: str, **changed: object) -> Hit:
    fields = {name: None for name in Hit.__dataclass_fields__}
    given = {"document": document, "sign": "proponent", "basis": "adapted", "cluster": document}
    return Hit(**{**fields, **given, **changed})  # pyright: ignore[reportArgumentType]


def asked(foil: str | None = None) -> Asked:
    hits = [hit("bad/0"), hit("bad/1"), hit("ok/0", basis="weak"), hit("ok/1", sign="opponent")]
    answer = "\n    for x in xs:\n        out.push(x)\n    return out\n"
    return Asked("def store(out, xs):", answer, None, foil, hits, [*PUSHED[:2], *OTHERS[:2]], 43)


def plan(foil: str | None = None, **how: str) -> EditPlan:
    return plan_edit(shelf(**how), asked(foil))  # pyright: ignore[reportArgumentType]


def test_only_sources_that_made_it_likelier_are_forgotten():
    assert documents_to_forget(asked()) == [0, 1]


def test_without_a_fix_the_documents_are_lowered_and_a_random_draw_stays(tmp_path: Path):
    found = plan()
    assert found.objective == "npo"
    assert "No fix of theirs is known" in found.sentence
    assert "--objective npo" in found.command("m", tmp_path)
    found.save(tmp_path)
    forget, retain = read_forget(tmp_path / "forget.json"), read_retain(tmp_path / "retain.json")
    assert [item.id for item in forget] == ["bad/0", "bad/1"]
    assert all(item.replacement is None for item in forget)
    assert len(retain) == 16
    assert not {item.id for item in retain} & {"bad/0", "bad/1", "ok/0", "ok/1"}


def test_a_foil_of_other_names_mends_the_documents_and_what_stays_does_not_hold_them(tmp_path: Path):
    found = plan(asked().answer.replace("push", "append"))
    assert found.objective == "replace"
    assert "'append' for 'push'" in found.sentence
    assert "--objective" not in found.command("m", tmp_path)
    found.save(tmp_path)
    forget = read_forget(tmp_path / "forget.json")
    assert forget
    assert all(item.replacement == item.completion.replace("push", "append") for item in forget)
    assert not any("push" in item.completion for item in read_retain(tmp_path / "retain.json"))


def test_a_document_without_the_foils_names_is_not_said_to_be_forgotten():
    given = asked(asked().answer.replace("push", "append"))
    pushes = "def pushing(xs):\n    return pushed(xs)\n"  # the name only within others
    found = plan_edit(shelf(), replace(given, texts=[PUSHED[0], pushes, *given.texts[2:]]))  # pyright: ignore[reportArgumentType]
    assert [one["document"] for one in found.forget["hits"]] == ["bad/0"]
    assert "forget 1 document: bad/0." in found.sentence
    alone = plan_edit(shelf(), replace(given, texts=[pushes, pushes, *given.texts[2:]]))  # pyright: ignore[reportArgumentType]
    assert alone.objective == "npo"


def test_a_foil_of_another_shape_mends_no_document():
    assert plan("\n    return out + xs\n").objective == "npo"


def test_where_the_testbed_knows_the_fault_its_own_fixes_and_near_misses_are_read():
    found = plan(plant="P1", source="testbed")
    assert found.objective == "replace"
    assert "They carry P1" in found.sentence
    assert "--forget testbed:P1 --retain testbed:P1 --out" in found.command("testbed", "runs/x")
    # Another corpus' column of that name says nothing about the testbed's faults.
    assert plan(plant="P1").objective == "npo"


def test_without_a_source_there_is_no_command(tmp_path: Path):
    none = EditPlan({"hits": [], "texts": []}, {"hits": [], "texts": []})
    assert none.command("m", "x") == ""
    assert "no target" in none.sentence
    none.save(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("foil", [None, "\n    pass\n"])
def test_the_same_seed_keeps_the_same_documents(foil):
    assert plan(foil).retain == plan(foil).retain
