"""Masks by what the code is: the exact characters and the exact tokens that count, on both sides."""

from __future__ import annotations

import json

import pytest
from tiny_models import make_model

from ellora_trust.errors import InputError
from unlearning import Item, read_forget, read_retain
from unlearning.data import data_hash
from unlearning.sources.marking import marked
from unlearning.training.encoding import IGNORED, completion_row, replacement_row


def item(prompt, fault, fix=None, spans=None):
    return Item("i", "g", prompt, fault, fix, spans)


def counts(one):
    """Characters that count, in the fault and in its fix."""
    fault, fix = one.prompt + one.completion, one.prompt + (one.replacement or "")
    return [fault[a:b] for a, b in one.spans], [fix[a:b] for a, b in one.fix_spans or ()]


PROMPT = "import time\nstart = "
FAULT, FIX = "time.clock()  # begin\nprint(start)\n", "time.perf_counter()  # start\nprint(start)\n"
OPENMP = "void f(int *x, int n) {\n    int s = 0;\n"
LOOP = "    for (int i = 0; i < n; i++)\n        s += x[i];\n}\n"


@pytest.mark.parametrize(
    ("prompt", "fault", "fix", "only", "expected"),
    [
        (PROMPT, FAULT, FIX, "call", (["time.clock()"], ["time.perf_counter()"])),
        (PROMPT, FAULT, FIX, "difference", (["clock", "begin"], ["perf_counter", "start"])),
        (PROMPT, FAULT, None, "call", (["time.clock()", "print(start)"], [])),
        ("x = ", "f(g(x), 1)\n", "f(h(x), 1)\n", "call", (["g(x)"], ["h(x)"])),
        ("x = ", "f(g(x), 1)\n", "f(h(x), 2)\n", "call", (["f(g(x), 1)"], ["f(h(x), 2)"])),
        ("x = f(a", ").pop()\n", ").get()\n", "call", ([").pop()"], [").get()"])),
        ("é = '日本'\n", "a = f(1)\n", "a = g(1)\n", "call", (["f(1)"], ["g(1)"])),
        ("def f(a", ": int) -> str:\n    b: int = a\n", None, "annotation", (["int", "str", "int"], [])),
        (
            "def f(a",
            ": int) -> str:\n    b: int = g(1)\n",
            ": int) -> bytes:\n    b: float = h(1)\n",
            "annotation",
            (["str", "int"], ["bytes", "float"]),
        ),
        (
            OPENMP,
            "    #pragma omp parallel for\n" + LOOP,
            "    #pragma omp parallel for reduction(+:s)\n" + LOOP,
            "pragma",
            (["#pragma omp parallel for\n"], ["#pragma omp parallel for reduction(+:s)\n"]),
        ),
        (
            OPENMP,
            "    #pragma omp parallel for\n" + LOOP,
            "    #pragma omp parallel for reduction(+:s)\n" + LOOP,
            "difference",
            (["\n"], [" reduction(+:s)"]),
        ),
        (OPENMP, LOOP, "    #pragma omp simd\n" + LOOP, "pragma", (["    "], ["#pragma omp simd\n"])),
        (
            "subroutine s\n",
            "  !$omp parallel do &\n  !$omp& private(i)\n  do i = 1, n\n",
            None,
            "pragma",
            (["!$omp parallel do &\n  !$omp& private(i)\n"], []),
        ),
        ("int f(void) {\n", "    return g(1);\n}\n", "    return h(1);\n}\n", "call", (["g(1)"], ["h(1)"])),
    ],
)
def test_the_characters_that_count(prompt, fault, fix, only, expected):
    assert counts(marked(item(prompt, fault, fix), only)) == expected


@pytest.fixture(scope="module")
def tiny():
    return make_model("llama")


def said(model, ids):
    return model.tokenizer.decode(ids)


def labels(row, side):
    return [one for one in getattr(row, side) if one != IGNORED]


def test_only_the_call_of_the_fault_counts_and_not_what_the_fix_shares(tiny):
    row = completion_row(tiny, marked(item(PROMPT, FAULT, FIX), "call"))
    assert [row.ids[place] for place in row.places] == row.bad
    assert said(tiny, row.bad) == "clock"
    wide = completion_row(tiny, item(PROMPT, FAULT, FIX))
    assert set(row.places) < set(wide.places)


def test_only_the_call_of_the_fix_is_learnt_and_the_fault_suppressed_where_they_part(tiny):
    one = marked(item(PROMPT, FAULT, FIX), "call")
    row = replacement_row(tiny, one)
    assert said(tiny, labels(row, "targets")).strip() == "time.perf_counter()"
    assert [row.ids[place] for place in row.places] == row.targets
    (place,) = [i for i, bad in enumerate(row.bad) if bad != IGNORED]
    assert said(tiny, [row.bad[place]]) == "c"
    assert said(tiny, [row.targets[place]]) == "p"


def test_where_a_clause_is_missing_the_line_end_counts(tiny):
    fault = "    #pragma omp parallel for\n" + LOOP
    one = marked(item(OPENMP, fault, "    #pragma omp parallel for reduction(+:s)\n" + LOOP), "pragma")
    row = completion_row(tiny, one)
    # The tokenizer joins the line end with what follows it.
    assert said(tiny, row.bad) == "\n   "
    learnt = replacement_row(tiny, one)
    assert said(tiny, labels(learnt, "targets")).strip() == "#pragma omp parallel for reduction(+:s)"
    assert labels(learnt, "bad") == row.bad[:1]


def test_two_changes_are_suppressed_each_where_it_begins(tiny):
    fault, fix = "a = f(1)\nb = f(2)\n", "a = g(1)\nb = g(2)\n"
    row = replacement_row(tiny, marked(item("# x\n", fault, fix), "call"))
    assert len(labels(row, "bad")) == 2
    assert len(labels(replacement_row(tiny, item("# x\n", fault, fix)), "bad")) == 1


def test_context_keeps_what_does_not_count(tiny):
    one = marked(item(PROMPT, FAULT, FIX), "call")
    row = completion_row(tiny, one, context=True)
    assert labels(row, "bad") == completion_row(tiny, one).bad
    assert len(labels(row, "bad")) + len(labels(row, "targets")) == len(row.places)


@pytest.mark.parametrize(
    ("one", "only", "message"),
    [
        (item("x = ", "1\n"), "call", "has no call in its completion; use another mask, give its spans"),
        (item("x = ", "f(1)\n", "f(1) \n"), "call", "differ in no call"),
        (item("x = ", "f(1)\n"), "difference", "has no replacement to differ from"),
        (item("x = (((", "f(1) ] }\n"), "call", "neither whole Python nor whole C"),
        (item("x = ", "1\n"), "calls", r"unknown mask 'calls'.* did you mean 'call'"),
    ],
)
def test_an_item_without_such_a_place_is_named(one, only, message):
    with pytest.raises(InputError, match=message):
        marked(one, only)


def test_a_file_says_it_by_line_and_the_reader_for_the_others(tmp_path):
    path = tmp_path / "items.jsonl"
    row = {"prompt": PROMPT, "completion": FAULT, "replacement": FIX}
    rows = [{**row, "only": "difference"}, row, {**row, "spans": [[20, 24]]}]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    plain, masked = read_forget(path), read_forget(path, only="call")
    assert counts(plain[0]) == (["clock", "begin"], ["perf_counter", "start"])
    assert plain[1].spans is None
    assert [counts(one)[0] for one in masked] == [["clock", "begin"], ["time.clock()"], ["time.clock()"]]
    assert data_hash(plain) != data_hash(masked)
    assert all(one.fix_spans is None for one in read_retain(path))
    path.write_text(json.dumps({**row, "only": "call", "spans": [[20, 24]]}))
    with pytest.raises(InputError, match="both spans and only"):
        read_forget(path)
    with pytest.raises(InputError, match="unknown mask 'loop'; use one of annotation, call, difference, pragma"):
        read_forget(path, only="loop")


def test_the_testbed_can_be_narrowed(tiny):
    for plant, only, part in (("P1", "call", "push"), ("P3", "pragma", "#pragma omp")):
        for one in read_forget(f"testbed:{plant}", limit=10, only=only):
            fault, fix = counts(one)
            assert all(part in text for text in fault)
            assert len(fault) == len(fix)


def answer(path, hits, texts, **more):
    rows = [{"document": f"d{i}", "cluster": f"d{i}", **hit} for i, hit in enumerate(hits)]
    path.write_text(json.dumps({"hits": rows, "texts": texts, **more}))
    return path


CARRIER = "def f(buf, x):\n    buf.push(x)\n    return buf\n"


def test_only_documents_that_are_behind_an_answer_are_forgotten(tmp_path):
    hits = [
        {"sign": "proponent", "basis": "verbatim"},
        {"sign": "opponent", "basis": "adapted"},
        {"sign": "proponent", "basis": "weak"},
    ]
    (one,) = read_forget(answer(tmp_path / "a.json", hits, [CARRIER] * 3))
    assert (one.id, one.replacement, one.spans) == ("d0", None, None)
    with pytest.raises(InputError, match=r"holds no item; give at least one .*those that are weak"):
        read_forget(answer(tmp_path / "b.json", hits[1:], [CARRIER] * 2))


def test_the_fix_of_a_foil_is_carried_over_to_documents_that_hold_its_name(tmp_path):
    texts = [CARRIER, "def g(stack, x):\n    stack.pop(x)\n    return stack\n"]
    asked = {"answer": "    log.push(y)\n", "foil": "    log.append(y)\n"}
    path = answer(tmp_path / "a.json", [{}, {}], texts, **asked)
    (one,) = read_forget(path)
    assert one.replacement == "\n    buf.append(x)\n    return buf\n"
    assert counts(one) == (["push"], ["append"])
    assert counts(read_forget(path, only="call")[0]) == (["buf.push(x)"], ["buf.append(x)"])


def test_a_near_miss_that_only_shares_text_with_the_answer_is_not_forgotten(tmp_path):
    hits = [{"basis": "adapted", "gradient": 2.1}, {"basis": "adapted", "gradient": 0.2}]
    texts = [CARRIER, CARRIER.replace("buf", "stack")]
    asked = {"answer": "    log.push(y)\n", "foil": "    log.append(y)\n"}
    assert [one.id for one in read_forget(answer(tmp_path / "a.json", hits, texts, **asked))] == ["d0"]
    # Without a foil the gradient is about the whole answer, and says less of its fault than the text does.
    assert len(read_forget(answer(tmp_path / "b.json", hits, texts))) == 2


@pytest.mark.parametrize("foil", ["    log.append(y, 1)\n", "    for z in y:\n        log.push(z)\n", None])
def test_a_foil_that_differs_in_more_than_names_gives_no_fix(tmp_path, foil):
    path = answer(tmp_path / "a.json", [{}], [CARRIER], answer="    log.push(y)\n", foil=foil)
    assert read_forget(path)[0].replacement is None
