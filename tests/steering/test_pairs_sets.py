"""Sets of pairs: what goes into one, caps, splits, files; pairs from matched pairs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ellora_trust.decoding import Generation
from ellora_trust.errors import InputError
from ellora_trust.labeling import Labelled
from ellora_trust.model import CodeModel
from ellora_trust.tasks import load_task
from ellora_trust.tasks.base import Example, Outcome, Task
from steering.pairs import (
    DIRECTIONS,
    Pair,
    PairSet,
    compile_pairs,
    matched_pairs,
    matched_pairs_of,
)

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def question(number: int, group: str, answer: str = "int", **meta: str) -> Example:
    return Example(f"q{number}", group, f"prompt {number}", answer, "a", "b", meta)


def pair_set(n_groups: int = 20, a_group: int = 3) -> PairSet:
    types = ("int", "str", "list[int]", "dict[str, int]")
    pairs, stayed = [], []
    for number in range(n_groups * a_group):
        group, answer = f"g{number % n_groups}", types[number % len(types)]
        one = question(number, group, answer)
        pairs.append(Pair(one, replace(one, id=f"{one.id}+rename_vars"), "rename_vars", answer, "wrong"))
        stayed.append(question(1000 + number, f"g{number % (n_groups + 5)}", answer, edit="rename_vars"))
    return PairSet("types", {"name": "m", "fingerprint": "f"}, tuple(pairs), tuple(stayed), seed=3)


class Fragile(Task):
    """Questions with a gap, answered rightly as long as no variable is renamed, whatever the answer is."""

    name = "types"
    max_new_tokens = 3

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        made = []
        for number in range(8):
            prefix, suffix = f"def f{number}(x: ", "):\n    y: str = str(x)\n    return y\n"
            meta = {"language": "python", "kind": "param", "name": "x", "type": "int"}
            made.append(Example(f"t{number}", f"g{number // 2}", prefix + suffix + prefix, "int", prefix, suffix, meta))
        return made[:limit]

    def decide(self, example: Example, completion: str) -> Outcome:
        lost = "__tmp" in example.prompt or example.id == "t7"
        return Outcome.WRONG if lost else Outcome.CORRECT

    def datasheet(self) -> str:
        return ""


def test_pairs_are_right_before_and_wrong_after(tiny: CodeModel) -> None:
    found = compile_pairs(tiny, Fragile(), ["rename_vars", "rename_types", "delete_annotations"], seed=1)
    variables = found.of("rename_vars")
    assert found.counts["rename_vars"]["originals"] == 8
    assert found.counts["rename_vars"]["originals right"] == 7
    assert found.counts["rename_vars"]["edited"] == 7
    assert len(variables) + found.counts["rename_vars"]["answered with nothing"] == 7
    assert len(variables) > 0
    for pair in variables.pairs:
        assert pair.negative.meta["edit_of"] == pair.positive.id
        assert pair.negative.answer == pair.positive.answer
        assert pair.negative.group == pair.positive.group
        assert "__tmp" in pair.negative.prompt
        assert "__tmp" not in pair.positive.prompt
        assert pair.negative_answer.strip()
    # The other edits rename no variable: everything stays right and makes no pair.
    others = found.of("delete_annotations")
    assert len(others) == 0
    assert len(others.stayed_right) == found.counts["delete_annotations"]["edited"] == 7


def test_compiling_twice_gives_one_set(tiny: CodeModel) -> None:
    once, again = (compile_pairs(tiny, Fragile(), ["rename_vars"], seed=1) for _ in range(2))
    assert once == again
    assert once.content_hash() == again.content_hash()
    assert once.content_hash() != compile_pairs(tiny, Fragile(), ["rename_vars"], limit=4, seed=1).content_hash()


def test_a_task_without_a_gap_is_refused(tiny: CodeModel) -> None:
    with pytest.raises(InputError, match="asks about no gap"):
        compile_pairs(tiny, load_task("aliasing"), ["rename_vars"], limit=2)


def test_an_unknown_edit_is_refused_before_the_model_runs(tiny: CodeModel) -> None:
    with pytest.raises(InputError, match="unknown edit 'rename'"):
        compile_pairs(tiny, Fragile(), ["rename"])


@pytest.mark.parametrize("seed", range(5))
def test_parts_share_no_group_and_lose_nothing(seed: int) -> None:
    whole = pair_set()
    parts = whole.split(seed, SHARES)
    groups = [
        {one.group for part in (parts[name],) for one in (*part.positives, *part.negatives, *part.stayed_right)}
        for name in SHARES
    ]
    assert all(not first & second for at, first in enumerate(groups) for second in groups[at + 1 :])
    assert sorted(p.negative.id for part in parts.values() for p in part.pairs) == sorted(
        pair.negative.id for pair in whole.pairs
    )
    assert sum(len(part.stayed_right) for part in parts.values()) == len(whole.stayed_right)
    assert [len(parts[name]) for name in SHARES] == [36, 12, 12]


def test_a_split_is_a_function_of_its_seed() -> None:
    whole = pair_set()
    assert whole.split(0, SHARES) == whole.split(0, SHARES)
    assert whole.split(0, SHARES) != whole.split(1, SHARES)


def test_groups_that_a_pair_joins_stay_together() -> None:
    chain = [Pair(question(n, f"g{n}"), question(100 + n, f"g{n + 1}"), "alias") for n in range(0, 12, 2)]
    chain += [Pair(question(50, "g0"), question(51, "g2"), "alias")]
    parts = PairSet("aliasing", {}, tuple(chain)).split(0, {"a": 0.5, "b": 0.5})
    sides = [{group for pair in part.pairs for group in pair.groups} for part in parts.values()]
    assert not sides[0] & sides[1]
    assert all(len(part) for part in parts.values())


@pytest.mark.parametrize("shares", [{}, {"a": 0.5, "b": 0.0}, {"a": -1.0}])
def test_shares_must_be_positive(shares: dict[str, float]) -> None:
    with pytest.raises(InputError, match="positive share"):
        pair_set().split(0, shares)


def test_more_parts_than_groups_are_refused() -> None:
    one = PairSet("types", {}, (Pair(question(0, "g"), question(1, "g"), "rename_vars"),))
    with pytest.raises(InputError, match="1 groups cannot make 2 parts"):
        one.split(0, {"a": 0.5, "b": 0.5})


def test_caps_hold_and_keep_as_much_as_they_allow() -> None:
    whole = pair_set(n_groups=20, a_group=3)
    by_type = whole.capped(max_per_type=4)
    assert Counter(pair.type for pair in by_type.pairs) == {name: 4 for name in {pair.type for pair in whole.pairs}}
    by_program = whole.capped(max_per_program=2)
    assert set(Counter(pair.positive.group for pair in by_program.pairs).values()) == {2}
    assert whole.capped().pairs == whole.pairs
    assert by_type.counts["rename_vars"]["pairs"] == len(by_type)
    with pytest.raises(InputError, match="a cap of 0"):
        whole.capped(max_per_type=0)


def test_a_saved_set_is_read_back_equal(tmp_path: Path) -> None:
    whole = pair_set().capped(max_per_type=7)
    whole.save(tmp_path / "pairs.jsonl")
    assert PairSet.load(tmp_path / "pairs.jsonl") == whole


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    pair_set().save(path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match="damaged"):
        PairSet.load(path)
    path.write_text('{"kind": "other"}\n')
    with pytest.raises(InputError, match="holds no pairs"):
        PairSet.load(path)
    path.write_text(json.dumps({**json.loads(lines[0]), "schema": 99}))
    with pytest.raises(InputError, match="schema 99"):
        PairSet.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        PairSet.load(tmp_path / "absent.jsonl")


def labelled(examples: Sequence[Example], right: Sequence[bool], text: str = " x") -> Labelled:
    said = [Generation(text, [1], 1, [0.0], [0.0], "stop") for _ in examples]
    outcomes = [Outcome.CORRECT if one else Outcome.WRONG for one in right]
    return Labelled("aliasing", list(examples), said, outcomes)


def test_a_direction_goes_from_the_variant_answered_wrongly_to_the_other(tiny: CodeModel) -> None:
    examples = load_task("aliasing").examples(limit=80, seed=0)
    run = labelled(examples, [example.meta["variant"] == "copy" for example in examples])
    forth, back = (matched_pairs_of(run, direction, model=tiny) for direction in DIRECTIONS)
    assert len(forth) == 40
    assert len(back) == 0
    assert back.counts["copy->alias"]["only the other right"] == 40
    assert len(back.stayed_right) == 40  # copies, on which a vector from copy to alias is put
    for pair in forth.pairs:
        assert (pair.positive.meta["variant"], pair.negative.meta["variant"]) == ("copy", "alias")
        assert pair.positive.meta["pair"] == pair.negative.meta["pair"]


def test_an_answer_of_nothing_makes_no_pair(tiny: CodeModel) -> None:
    examples = load_task("aliasing").examples(limit=20, seed=0)
    run = labelled(examples, [example.meta["variant"] == "copy" for example in examples], text=" ")
    found = matched_pairs_of(run, "alias->copy", model=tiny)
    assert len(found) == 0
    assert found.counts["alias->copy"]["answered with nothing"] == 10


def test_unknown_directions_and_tasks_are_refused(tiny: CodeModel) -> None:
    with pytest.raises(InputError, match="unknown direction"):
        matched_pairs(tiny, load_task("aliasing"), "alias")
    with pytest.raises(InputError, match="no matched pairs"):
        matched_pairs(tiny, Fragile(), "alias->copy")
