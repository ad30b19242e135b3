"""The task `types`: normal forms, gaps, near-duplicates, the manifest, a user's folder, balance."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ellora_trust.errors import InputError
from ellora_trust.tasks.base import Outcome
from ellora_trust.tasks.near_duplicates import merge_groups, near_duplicate_pairs, shingles, similarity
from ellora_trust.tasks.types.annotations import Slot, functions, mask, slots
from ellora_trust.tasks.types.manifest import PERMISSIVE
from ellora_trust.tasks.types.normal import leading_annotation, normalise, same_type
from ellora_trust.tasks.types.questions import MAX_CODE, MAX_TYPE, ask, askable_type, visible_names
from ellora_trust.tasks.types.rows import (
    MANIFEST,
    Manifest,
    Release,
    Row,
    digest,
    read_manifest,
    resolve,
    write_manifest,
)
from ellora_trust.tasks.types.shorten import shorten
from ellora_trust.tasks.types.stratify import stratified_order, thinned
from ellora_trust.tasks.types.task import TypesTask

METHOD = '''    @property
    def size(self, unit: "Unit" = 3, *,  # type: int
             scale=lambda: {1: 2}) -> list[int]:
        """Return an int."""
        # an int

        text = """a

        # not a comment
        """  # but this is
        return [text, unit]
'''
atoms = st.sampled_from(["int", "str", "None", "'Node'", "typing.List[int]", "dict[str, Any]", "t.Optional[bytes]"])
types = st.recursive(
    atoms,
    lambda inner: st.one_of(
        inner.map(lambda one: f"Optional[{one}]"),
        st.tuples(inner, inner).map(lambda two: f"Union[{two[0]}, {two[1]}]"),
        inner.map(lambda one: f"list[{one}]"),
        st.tuples(inner, inner).map(lambda two: f"Dict[{two[0]}, {two[1]}]"),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def task() -> TypesTask:
    return TypesTask()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    kinds = ["str", "int", "bool", "Path", "list[str]"]
    for number, kind in enumerate(kinds * 2):
        body = "\n".join(f"    step_{number}_{line} = value" for line in range(6))
        text = f"from pathlib import Path\n\ndef work_{number}(value: {kind}):\n{body}\n    return step_{number}_0\n"
        (tmp_path / f"part_{number}.py").write_text(text)
    return tmp_path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """A distribution of one file, and rows for its two functions."""
    (tmp_path / "toolbox-1.0.dist-info").mkdir()
    (tmp_path / "toolbox-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: toolbox\nVersion: 1.0\n")
    first, second = "def first(x: int):\n    return x + 1\n", "def second(x: str):\n    return x.upper()\n"
    (tmp_path / "toolbox.py").write_text(f"{first}\n\n{second}")
    monkeypatch.syspath_prepend(str(tmp_path))
    place = ("toolbox", "toolbox.py")
    rows = [
        Row(*place, "first", 1, 2, "param", "x", "int", digest(first), "toolbox/toolbox.py"),
        Row(*place, "second", 5, 6, "param", "x", "str", digest(second), "toolbox/toolbox.py"),
    ]
    return Manifest({"toolbox": Release("1.0", "MIT")}, rows, "none")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Optional[int]", "int | None"),
        ("None | int", "Optional[int]"),
        ("typing.List[int]", "list[int]"),
        ("Union[str, Optional[int]]", "int | str | None"),
        ("'Node'", "Node"),
        ("list['Node | None']", "List[Optional[Node]]"),
        ("Dict[Any, Any]", "dict"),
        ("tuple[Any, ...]", "Tuple"),
        ("Annotated[int, 'positive']", "int"),
        ("torch.Tensor", "Tensor"),
        ("Callable[..., Any]", "collections.abc.Callable"),
    ],
)
def test_spellings_of_one_type_are_equal(one: str, other: str) -> None:
    assert same_type(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("int", "str"), ("list[int]", "list"), ("int", "int | None"), ("dict[str, int]", "dict[int, str]"), ("1", "1")],
)
def test_different_types_and_what_is_no_type_are_not_equal(one: str, other: str) -> None:
    assert not same_type(one, other)


@given(types)
def test_normalising_twice_changes_nothing(annotation: str) -> None:
    normal = normalise(annotation)
    assert normal is not None
    assert normalise(normal) == normal
    assert normalise(repr(normal)) == normal


@given(types, types)
def test_the_order_of_a_union_does_not_matter(one: str, other: str) -> None:
    assert same_type(f"Union[{one}, {other}]", f"Union[{other}, {one}]")
    assert same_type(f"Optional[{one}]", f"Union[None, {one}]")


@given(
    types, st.sampled_from([" = None", ", y: str)", "):\n    pass", ":", "  # a comment", "\nmore", " and so on", "`"])
)
def test_what_follows_an_annotation_is_left_out(annotation: str, rest: str) -> None:
    found = leading_annotation(f" {annotation}{rest}")
    assert found is not None
    assert same_type(found, annotation)


@pytest.mark.parametrize("completion", ["", "   ", "dict[str, ", "int | ", "= 3", "3", "()", "\n"])
def test_a_completion_that_starts_with_no_type_has_no_annotation(completion: str) -> None:
    assert leading_annotation(completion) is None


def test_a_gap_hides_docstrings_and_comments_but_no_strings() -> None:
    prefix, suffix = mask(METHOD, Slot("param", "unit"))
    assert prefix.endswith("def size(self, unit: ")
    assert suffix.startswith(" = 3, *,\n             scale=")
    assert "# not a comment" in suffix
    assert not re.search("Return an int|an int|type: int|but this", prefix + suffix)


def test_a_gap_without_an_annotation_gets_one_in_the_right_place() -> None:
    prefix, suffix = mask(METHOD, Slot("param", "scale"))
    assert prefix.endswith("scale: ")
    assert suffix.startswith("=lambda")
    prefix, suffix = mask("def f(x=lambda: 0):\n    return x\n", Slot("return"))
    assert (prefix, suffix) == ("def f(x=lambda: 0) -> ", ":\n    return x\n")


def test_a_gap_for_an_unknown_parameter_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="f has no parameter 'y'; use one of x"):
        mask("def f(x):\n    return x\n", Slot("param", "y"))


def test_gaps_count_columns_in_characters_also_after_other_scripts() -> None:
    assert mask("def f(a='日本', x: int = 0):\n    return x\n", Slot("param", "x"))[0] == "def f(a='日本', x: "


def test_every_annotation_of_this_package_can_be_masked_and_filled_again() -> None:
    text = Path(ask.__code__.co_filename).read_text(encoding="utf-8")
    for function in functions(text):
        for slot in slots(function.node):
            prefix, suffix = mask(function.source, slot)
            (filled,) = functions(prefix + slot.annotation + suffix)
            assert slots(filled.node) == slots(function.node)


def test_a_prompt_shows_the_function_without_the_annotation_and_asks_in_its_signature() -> None:
    source = (
        "    def grow(\n        self,\n        by: float,  # metres\n    ) -> int:\n        return self.size + by\n"
    )
    question = ask(source, "Tree.grow", Slot("param", "by"))
    assert question is not None
    shown = "class Tree:\n    def grow(\n        self,\n        by,\n    ) -> int:\n        return self.size + by\n"
    assert question.prompt == f"{shown}\n    def grow(self, by:"
    assert question.prefix + "float" + question.suffix == shown.replace("by,", "by: float,")
    returned = ask(source, "Tree.grow", Slot("return"))
    assert returned is not None
    assert "int" not in returned.prompt
    assert returned.prompt.endswith("\n\n    def grow(self, by: float) ->")


def test_questions_without_an_answer_are_not_asked() -> None:
    text = (
        "from typing import Any, TypeVar\nT = TypeVar('T')\n"
        "def f(a: Any, b: T, c: Elsewhere, d: int, e: str = None, g: bool = True, h: 'Here' = 0) -> None:\n"
        "    return a, b, c, e, g, h\n"
        "class Here:\n    def __len__(self) -> int:\n        return 3\n"
        "    def empty(self) -> int:\n        raise KeyError\n"
    )
    visible = visible_names(ast.parse(text))
    asked = [
        (slot.name, askable_type(function, slot, visible))
        for function in functions(text)
        for slot in slots(function.node)
    ]
    assert [item for item in asked if item[1] is not None] == [("g", "bool"), ("h", "Here"), ("", "None")]


@settings(max_examples=40, deadline=None)
@given(st.integers(60, 400))
def test_shortened_code_fits_parses_and_keeps_what_is_wanted(max_chars: int) -> None:
    code = (
        "def f(x):\n    if x:\n        log(1)\n        log(2)\n    elif g(\n        x\n    ):\n"
        "        s = '''\nq\n'''\n    else:\n        pass\n    @cache\n    def inner():\n        pass\n"
        "    for i in x:\n        g(i)\n    return x\n"
    )
    short = shorten(code, max_chars=max_chars, wanted=re.compile("return"))
    assert short is not None
    ast.parse(short)
    assert len(short) <= max_chars
    assert "    return x\n" in short


def test_near_duplicates_are_exactly_the_pairs_brute_force_finds() -> None:
    words = [f"word{number}" for number in range(40)]
    texts = [" ".join([*words[:cut], *(f"other{cut}{n}" for n in range(40 - cut))]) for cut in range(0, 41, 2)]
    expected = [
        (one, other)
        for one, other in combinations(range(len(texts)), 2)
        if similarity(shingles(texts[one]), shingles(texts[other])) >= 0.7
    ]
    assert near_duplicate_pairs(texts) == expected
    assert expected


def test_files_that_share_a_near_duplicate_are_one_group() -> None:
    copied = "def norm(x):\n    total = sum(value * value for value in x)\n    return total ** 0.5\n"
    texts = [copied, "def other():\n    print('nothing alike')\n", copied.replace("    ", "  "), "import this\n"]
    assert merge_groups(["a", "b", "c", "d"], texts) == ["a", "b", "a", "d"]
    assert merge_groups(["a", "b", "c", "c"], [*texts[:3], texts[1]]) == ["a", "a", "a", "a"]


def test_the_manifest_is_large_permissive_and_balanced() -> None:
    manifest = read_manifest(MANIFEST)
    assert len(manifest.rows) >= 1500
    assert len({row.group for row in manifest.rows}) >= 400
    assert max(Counter(row.type for row in manifest.rows).values()) <= len(manifest.rows) / 3
    assert all(normalise(row.type) == row.type and len(row.type) <= MAX_TYPE for row in manifest.rows)
    licences = {
        name for release in manifest.releases.values() for name in re.split(" AND | OR | WITH ", release.licence)
    }
    assert licences <= PERMISSIVE


def test_the_manifest_survives_writing_and_reading(tmp_path: Path) -> None:
    write_manifest(read_manifest(MANIFEST), tmp_path / "manifest.json")
    assert (tmp_path / "manifest.json").read_text(encoding="utf-8") == MANIFEST.read_text(encoding="utf-8")


def test_every_row_of_the_manifest_is_accounted_for(task: TypesTask) -> None:
    resolution = task.resolution
    assert resolution.resolved + sum(resolution.lost.values()) == resolution.rows
    assert resolution.resolved > 0.7 * resolution.rows  # another Python loses rows of the standard library
    assert 0 < resolution.stdlib < resolution.resolved


def test_groups_of_the_manifest_hold_all_near_duplicates(task: TypesTask) -> None:
    examples = task.examples()
    code = [example.prefix + example.suffix for example in examples]
    assert all(examples[one].group == examples[other].group for one, other in near_duplicate_pairs(code))


def test_a_changed_function_is_counted_and_never_used(installed: Manifest) -> None:
    changed = replace(installed.rows[1], sha256=digest("def second(x: str): ..."))
    found, resolution = resolve(replace(installed, rows=[installed.rows[0], changed]))
    assert [item.row.qualname for item in found] == ["first"]
    assert resolution.lost == {"changed function": 1}
    assert str(resolution) == "1 of 2 rows resolved (1 changed function)"


def test_a_function_that_only_moved_is_found(installed: Manifest) -> None:
    moved = replace(installed.rows[1], line=40, end_line=41)
    found, resolution = resolve(replace(installed, rows=[moved]))
    assert [item.source for item in found] == ["def second(x: str):\n    return x.upper()\n"]
    assert not resolution.lost


def test_missing_distributions_and_files_are_counted(installed: Manifest) -> None:
    first, second = installed.rows
    rows = [replace(first, distribution="no-such-distribution"), replace(second, path="no_such_file.py")]
    found, resolution = resolve(replace(installed, rows=rows))
    assert not found
    assert resolution.lost == {"missing distribution": 1, "missing file": 1}


def test_prompts_are_short_and_end_where_the_type_begins(task: TypesTask) -> None:
    for example in task.examples():
        assert len(example.prefix + example.suffix) <= MAX_CODE
        assert example.prompt.endswith(":" if example.meta["kind"] == "param" else "->")
        ast.parse(f"{example.prefix}int{example.suffix}")
        assert example.meta["licence"]


def test_the_same_seed_gives_the_same_examples_and_another_seed_others(task: TypesTask) -> None:
    assert task.examples(seed=3) == TypesTask().examples(seed=3)
    assert task.examples(limit=50, seed=3) != task.examples(limit=50, seed=4)
    assert len({example.id for example in task.examples()}) == len(task.examples())


@pytest.mark.parametrize("limit", [1, 7, 100, 600])
def test_a_smaller_limit_gives_a_prefix_in_which_no_type_exceeds_a_third(task: TypesTask, limit: int) -> None:
    examples = task.examples(limit=limit, seed=1)
    assert examples == task.examples(seed=1)[:limit]
    assert max(Counter(example.answer for example in examples).values()) <= max(1, -(-limit // 3))


def test_the_answer_is_correct_and_another_type_is_wrong(task: TypesTask) -> None:
    example = next(example for example in task.examples() if example.answer == "int | None")
    assert task.decide(example, " Optional[int] = None") is Outcome.CORRECT
    assert task.decide(example, " 'int|None', other: str") is Outcome.CORRECT
    assert task.decide(example, " int") is Outcome.WRONG
    assert task.decide(example, " that depends") is Outcome.WRONG


def test_the_datasheet_counts_what_is_here(task: TypesTask) -> None:
    sheet = task.datasheet()
    assert f"{len(task.examples()):,} examples" in sheet
    assert str(task.resolution) in sheet
    assert "MIT" in sheet


def test_a_folder_gives_its_own_annotations_with_near_duplicates_in_one_group(folder: Path) -> None:
    (folder / "copy.py").write_text((folder / "part_0.py").read_text())
    (folder / "broken.py").write_text("def f(:\n")
    (folder / ".venv").mkdir()
    (folder / ".venv" / "other.py").write_text((folder / "part_0.py").read_text())
    task = TypesTask(folder)
    examples = {example.meta["path"]: example for example in task.examples()}
    assert set(examples) == {"copy.py", *(f"part_{number}.py" for number in range(10))}
    assert examples["copy.py"].group == examples["part_0.py"].group != examples["part_1.py"].group
    assert task.resolution.lost == {"unreadable file": 1}
    assert examples["part_3.py"].answer == "Path"
    assert "folder given" in task.datasheet()


def test_a_type_beyond_a_third_is_thinned_out() -> None:
    order = stratified_order([str(n) for n in range(40)], ["str"] * 30 + ["int"] * 6 + ["bool"] * 4, seed=0)
    kept = Counter("str" if index < 30 else "int" if index < 36 else "bool" for index in order)
    assert kept == {"str": 4, "int": 4, "bool": 4}


@given(st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 60), min_size=3))
def test_thinning_leaves_no_stratum_above_a_third_and_none_empty(counts: dict[str, int]) -> None:
    kept = thinned(Counter(counts))
    assert all(1 <= kept[name] <= count for name, count in counts.items())
    assert max(kept.values()) <= kept.total() / 3


@given(
    st.lists(st.tuples(st.sampled_from("pqrstu"), st.sampled_from("abcd")), min_size=30, max_size=60), st.integers(0, 9)
)
@settings(deadline=None)
def test_groups_stay_whole_in_the_order(items: list[tuple[str, str]], seed: int) -> None:
    items += [("x", "a"), ("y", "b"), ("z", "c")]
    order = stratified_order([group for group, _ in items], [stratum for _, stratum in items], seed=seed)
    sequence = [items[index][0] for index in order]
    assert len(set(order)) == len(order)
    assert sum(one != other for one, other in pairwise(sequence)) == len(set(sequence)) - 1


def test_a_source_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing is not a folder; give one that holds \.py files"):
        TypesTask(tmp_path / "missing")


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("def f(x):\n    return x\n")
    with pytest.raises(InputError, match="holds no annotation that can be asked about"):
        TypesTask(tmp_path).examples()


def test_a_folder_of_one_type_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("def f(x: int):\n    return x\n")
    with pytest.raises(InputError, match="1 different answers; 3 are needed"):
        TypesTask(tmp_path).examples()


def test_a_limit_below_one_is_refused(task: TypesTask) -> None:
    with pytest.raises(InputError, match="limit 0 is out of range; use 1 or more"):
        task.examples(limit=0)


def test_every_distribution_of_the_manifest_is_pinned_at_its_version():
    # An unpinned one could be missing elsewhere, and a missing row changes which examples are drawn.
    root = Path(__file__).resolve().parents[2]
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if "==" in line]
    pinned = {name.lower().replace("_", "-"): number for name, number in (line.split("==") for line in lines)}
    manifest = json.loads((root / "ellora_trust" / "tasks" / "types" / "manifest.json").read_text())
    releases = {name: release["version"].split("+")[0] for name, release in manifest["releases"].items()}
    labels = {name: number for name, number in releases.items() if name in pinned}
    assert {n: v for n, v in labels.items() if pinned[n] != v} == {}
    assert len(labels) == len(releases) - 1, sorted(releases.keys() - pinned.keys())  # all but the standard library
