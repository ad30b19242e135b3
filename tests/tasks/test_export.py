"""Exported files: read back where they hold text, and without text where the text is others'."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from ellora_trust.errors import InputError
from ellora_trust.tasks.aliasing.task import AliasingTask
from ellora_trust.tasks.base import Example, Outcome, Task
from ellora_trust.tasks.export import datasheet_path, export, licence_of
from ellora_trust.tasks.jsonl.task import JsonlTask
from ellora_trust.tasks.types.task import TypesTask


class Given(Task):
    """A task of the examples it was made with."""

    name = "given"

    def __init__(self, *metas: Mapping[str, str | bool | None]) -> None:
        self._examples = [
            Example(f"id{number}", f"g{number}", f"secret text {number}", f"a{number}", meta=meta)
            for number, meta in enumerate(metas)
        ]

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        return self._examples[:limit]

    def decide(self, example: Example, completion: str) -> Outcome:
        raise NotImplementedError

    def datasheet(self) -> str:
        return "# given\n\n- **Asks**: nothing.\n"


def rows_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def types() -> TypesTask:
    return TypesTask()


def test_aliasing_survives_writing_and_reading(tmp_path: Path) -> None:
    task = AliasingTask()
    exported = export(task, tmp_path / "aliasing.jsonl", limit=60, seed=3)
    assert (exported.n, exported.references, exported.licences) == (60, 0, {"Apache-2.0": 60})
    back = JsonlTask(source=tmp_path / "aliasing.jsonl")
    assert (back.header, back.stop, back.max_new_tokens) == (task.header, task.stop, task.max_new_tokens)
    before = {example.id: example for example in task.examples(limit=60, seed=3)}
    after = {example.id: example for example in back.examples()}
    assert after.keys() == before.keys()
    for name, example in after.items():
        one = before[name]
        assert (example.group, example.prompt, example.answer) == (one.group, one.prompt, one.answer)
        assert example.meta.items() >= one.meta.items()


def test_the_file_decides_as_the_task_does(tmp_path: Path) -> None:
    task = AliasingTask()
    export(task, tmp_path / "aliasing.jsonl", limit=40)
    back = JsonlTask(source=tmp_path / "aliasing.jsonl")
    outcomes = set()
    for example in back.examples():
        answer = str(example.answer)
        for text in (f" {answer}\nmore", answer.replace(", ", ","), answer.replace("[", "("), "no", "", "7", "[1, 2]"):
            assert back.decide(example, text) == task.decide(example, text)
            outcomes.add(back.decide(example, text))
    assert outcomes == {Outcome.CORRECT, Outcome.WRONG}


def test_source_of_installed_packages_is_exported_as_references(tmp_path: Path, types: TypesTask) -> None:
    path = tmp_path / "types.jsonl"
    exported = export(types, path, limit=30)
    assert exported.references == exported.n == 30
    examples = types.examples(limit=30)
    assert sum(exported.licences.values()) == 30
    for row, example in zip(rows_of(path), examples, strict=True):
        assert set(row) >= {"id", "group", "package", "version", "path", "sha256", "licence", "reference"}
        assert row["package"] == example.meta["distribution"]
        assert row["sha256"] == hashlib.sha256(example.prompt.encode()).hexdigest()
        assert row["licence"] == example.meta["licence"] != ""
        assert not {"prompt", "answer", "prefix", "suffix", "meta", "header"} & set(row)
    with pytest.raises(InputError, match="line 1: a reference to a question, without its text"):
        JsonlTask(source=path)


def test_no_line_of_others_code_is_in_the_file(tmp_path: Path, types: TypesTask) -> None:
    export(types, tmp_path / "types.jsonl", limit=100)
    text = (tmp_path / "types.jsonl").read_text()
    lines = [line.strip() for example in types.examples(limit=100) for line in example.prompt.splitlines()]
    long_lines = [line for line in lines if len(line) > 25]
    assert len(long_lines) > 100
    assert not [line for line in long_lines if line in text]


def test_text_without_a_known_licence_is_a_reference_and_counted_as_unknown(tmp_path: Path) -> None:
    metas = [{"licence": "MIT"}, {"licence": ""}, {"licence": None}, {"licence": "MIT", "reference": True}, {}]
    exported = export(Given(*metas), tmp_path / "given.jsonl")
    assert exported.licences == {"MIT": 2, "unknown": 2, "Apache-2.0": 1}
    assert exported.references == 3
    text = (tmp_path / "given.jsonl").read_text()
    assert [f"secret text {number}" in text for number in range(5)] == [True, False, False, False, True]
    assert [row["licence"] for row in rows_of(tmp_path / "given.jsonl")] == [
        *("MIT", "unknown", "unknown", "MIT", "Apache-2.0")
    ]


def test_a_reference_names_its_place(tmp_path: Path) -> None:
    meta = {"reference": True, "licence": "BSD-3-Clause", "source": "DataRaceBench", "path": "DRB001.c", "type": "yes"}
    export(Given(meta), tmp_path / "races.jsonl")
    (row,) = rows_of(tmp_path / "races.jsonl")
    assert row == {
        **{"id": "id0", "group": "g0", "reference": True, "path": "DRB001.c", "package": "DataRaceBench"},
        **{"sha256": hashlib.sha256(b"secret text 0").hexdigest(), "licence": "BSD-3-Clause"},
    }


def test_a_users_own_code_has_no_known_licence(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    for kind in ("int", "str", "bytes"):
        code = f"def use_{kind}(value: {kind}):\n    seen = value\n    return [seen, '{kind}']\n"
        (tmp_path / "src" / f"{kind}.py").write_text(code)
    exported = export(TypesTask(tmp_path / "src"), tmp_path / "own.jsonl")
    assert (exported.references, exported.licences) == (3, {"unknown": 3})


def test_a_datasheet_stands_beside_the_file(tmp_path: Path) -> None:
    export(Given({"licence": "MIT"}, {"licence": None}), tmp_path / "given.jsonl")
    sheet = (tmp_path / "given.datasheet.md").read_text()
    assert sheet.startswith("# given\n\n- **Asks**: nothing.\n")
    assert "2 examples of the task given, seed 0. 1 of them are references" in sheet
    assert "| MIT | 1 |\n| unknown | 1 |\n" in sheet
    assert datasheet_path(tmp_path / "given.jsonl") == tmp_path / "given.datasheet.md"


def test_a_failed_export_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "given.jsonl"
    export(Given({}), path)
    before = path.read_bytes()
    with pytest.raises(UnicodeEncodeError):
        export(Given({"half": "\ud800"}), path)
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["given.datasheet.md", "given.jsonl"]


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.jsonl", "other.jsonl"):
        export(AliasingTask(), tmp_path / name, limit=20, seed=5)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "other.jsonl").read_bytes()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder; give a file, for example .*aliasing\.jsonl"):
        export(AliasingTask(), tmp_path)


def test_what_was_generated_here_has_this_librarys_licence() -> None:
    assert licence_of(AliasingTask().examples(limit=1)[0]) == "Apache-2.0"
