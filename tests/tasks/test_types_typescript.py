"""TypeScript in the task `types`: normal forms, gaps, what is asked, files and rows, and what tsc adds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ellora_trust.errors import InputError
from ellora_trust.sandbox import Sandbox
from ellora_trust.tasks.base import Example, Outcome
from ellora_trust.tasks.types.questions import MAX_CODE
from ellora_trust.tasks.types.rows import Row
from ellora_trust.tasks.types.sources import scan
from ellora_trust.tasks.types.task import TypesTask
from ellora_trust.tasks.types.typescript.compiler import installed, proven_same, tsc_accepts, tsc_version
from ellora_trust.tasks.types.typescript.normal import leading_annotation, normalise, same_type
from ellora_trust.tasks.types.typescript.questions import ask, questions_in
from ellora_trust.tasks.types.typescript.syntax import mask, slots, units
from ellora_trust.tasks.types.typescript.tree import parse

FILE = """\
import { Point, type Shape as Form } from './shapes';

export type Id = string;

/** Says {string}. */
export async function load(url: Id, n?: number, ...rest: Form[]): Promise<Form[]> {
  const seen: Map<string, Point> = new Map(); // a Map
  const text: string = `a // no comment

b`;
  for (const one of rest) { seen.set(url, n); }
  /* string */ return rest;
}

export class Box<T> extends Base {
  items: T[] = [];
  constructor(private readonly size: number) { super(); }
  get length(): number { return this.items.length; }
  set length(value: number) { this.items.length = value; }
  find(key: string, test: (one: T) => boolean): Point | undefined {
    return this.items.find(test) ?? key;
  }
  is(one: unknown): one is string { return true; }
  toString(): string { return 'box'; }
}

export const total = (values: number[], unused: string): number => values.length;
export const limits: Record<string, number> = { a: 1 };
function over(x: string): string;
function over(x: any) { return x; }
function anything(x: any, y: unknown, z: 'a' | 'b', w: typeof limits, v: Missing): void { f(x, y, z, w, v); }
function empty(x: number): void {}
"""
atoms = st.sampled_from(["string", "number", "null", "undefined", "boolean", "a.Point", "Map<string, Point>"])
types = st.recursive(
    atoms,
    lambda inner: st.one_of(
        inner.map(lambda one: f"({one})[]"),
        inner.map(lambda one: f"ReadonlyArray<{one}>"),
        inner.map(lambda one: f"{{ b?: {one}; a: string }}"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}) | ({two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}) & ({two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"(x: {two[0]}) => ({two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"[{two[0]}, {two[1]}]"),
    ),
    max_leaves=5,
)
needs_tsc = pytest.mark.skipif(not installed(), reason="tsc is not installed: npm install -g typescript")


@pytest.fixture(scope="module")
def box() -> Sandbox:
    return Sandbox()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    kinds = ["string", "number", "boolean", "Date", "string[]"]
    for number, kind in enumerate(kinds * 2):
        body = "\n".join(f"  const step{number}{line} = value;" for line in range(6))
        text = f"export function work{number}(value: {kind}) {{\n{body}\n  return step{number}0;\n}}\n"
        (tmp_path / f"part{number}.ts").write_text(text)
    return tmp_path


def asked(text: str = FILE) -> dict[tuple[str, str, str], str]:
    rows = [found.row for found in questions_in(text, "box.ts")]
    return {(row.qualname, row.kind, row.name): row.type for row in rows}


def prompt(qualname: str, kind: str, name: str, text: str = FILE) -> str:
    """Return the prompt of one question."""
    for found in questions_in(text, "box.ts"):
        if (found.row.qualname, found.row.kind, found.row.name) == (qualname, kind, name):
            question = ask(found.source, found.row)
            return question.prompt if question else ""
    raise AssertionError(f"{qualname} {kind} {name} is not asked about")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("string | null", "null | string"),
        ("Array<string>", "string[]"),
        ("Array<Array<number>>", "number[][]"),
        ("(string | number)[]", "Array<number | string>"),
        ("readonly string[]", "ReadonlyArray<string>"),
        ("Map<string,number>", "Map< string, number >"),
        ("((string))", "string"),
        ("A | (B | C)", "C | B | A"),
        ("A & B", "B & A"),
        ("true | false", "boolean"),
        ("(x: number, y?: string) => void", "(a:number,b?:string)=>void"),
        ("{ a: number, b?: string }", "{b?: string; a: number;}"),
        ("{ [key: string]: number }", "Record<string, number>"),
        ("{ go(x: A): void }", "{ go: (y: A) => void }"),
        ("[x: number, y?: string]", "[number, string?]"),
        ("React.ReactNode", "ReactNode"),
        ("'a' | \"b\"", "\"b\" | 'a'"),
        ("| string | number", "number | string"),
        ("(Map<A, B> | Map<A, C>)[]", "Array<Map<A, C> | Map<A, B>>"),
        ("Array<(x: A) => Map<A, B>>", "((y: A) => Map<A, B>)[]"),
        ("readonly A[] | B | C", "C | (B | ReadonlyArray<A>)"),
        ("{ a: readonly A[] & B | C }", "{ a: C | (B & ReadonlyArray<A>) }"),
    ],
)
def test_spellings_of_one_type_are_equal(one: str, other: str) -> None:
    assert same_type(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("string", "String"),
        ("string[]", "readonly string[]"),
        ("A | B[]", "(A | B)[]"),
        ("A & B | C", "A & (B | C)"),
        ("() => A | null", "(() => A) | null"),
        ("null", "undefined"),
        ("{ a: number }", "{ a?: number }"),
        ("{ a: number }", "{ readonly a: number }"),
        ("(x: number) => void", "(x?: number) => void"),
        ("Map<string, A>", "Map<A, string>"),
        ("3 +", "3 +"),
        ("", ""),
        ("string; let x", "string; let x"),
        ("string /* c */", "string /* c */"),
        ("A extends B ? C : D", "A extends B ? C : D"),
    ],
)
def test_different_types_and_what_is_no_type_are_not_equal(one: str, other: str) -> None:
    assert not same_type(one, other)


@given(types)
@settings(deadline=None)
def test_normalising_twice_changes_nothing(annotation: str) -> None:
    normal = normalise(annotation)
    assert normal is not None
    assert normalise(normal) == normal
    assert normalise(f"({annotation})") == normal


@given(
    types, st.sampled_from([" = null", ", y: string)", "): void {", ";", " {", "  // a comment", "\nmore", "`", " or"])
)
@settings(deadline=None, max_examples=40)
def test_what_follows_an_annotation_is_left_out(annotation: str, rest: str) -> None:
    found = leading_annotation(f" {annotation}{rest}")
    assert found is not None
    assert same_type(found, annotation)


@pytest.mark.parametrize("completion", ["", "  ", "Map<string, ", "string | ", "string[", "A &", "= 3", ")", "{", "\n"])
def test_a_completion_that_starts_with_no_type_has_no_annotation(completion: str) -> None:
    assert leading_annotation(completion) is None


def test_what_makes_sense_is_asked_and_nothing_else() -> None:
    assert asked() == {
        ("load", "param", "url"): "Id",
        ("load", "param", "n"): "number",
        ("load", "return", ""): "Promise<Form[]>",
        ("load", "var", "seen"): "Map<string, Point>",
        ("load", "var", "text"): "string",
        ("Box.find", "param", "key"): "string",
        ("Box.find", "return", ""): "Point | undefined",
        ("total", "param", "values"): "number[]",
        ("total", "return", ""): "number",
        ("limits", "var", "limits"): "Record<string, number>",
        ("anything", "return", ""): "void",
    }


def test_a_prompt_shows_the_code_without_the_annotation_then_its_signature() -> None:
    assert prompt("total", "param", "values") == (
        "export const total = (values, unused: string): number => values.length;\n\nexport const total = (values:"
    )
    assert prompt("limits", "var", "limits") == "export const limits = { a: 1 };\n\nexport const limits:"
    assert prompt("load", "var", "seen").endswith("}\n\nconst seen:")
    assert prompt("load", "return", "").endswith(
        "\n\nexport async function load(url: Id, n?: number, ...rest: Form[]):"
    )


def test_a_method_is_shown_in_its_class() -> None:
    shown = prompt("Box.find", "param", "key")
    assert shown.startswith("class Box {\n  find(key, test: (one: T) => boolean): Point | undefined {\n")
    assert shown.endswith("}\n\n  find(key:")


def test_comments_go_and_what_looks_like_one_in_a_template_stays() -> None:
    shown = prompt("load", "param", "url")
    assert "a Map" not in shown
    assert "/* string */" not in shown
    assert "{string}" not in shown
    assert "`a // no comment\n\nb`" in shown


def test_every_gap_filled_with_its_answer_parses() -> None:
    found = list(questions_in(FILE, "box.ts"))
    for item in found:
        question = ask(item.source, item.row)
        assert question is not None
        assert not parse(f"{question.prefix}{item.row.type}{question.suffix}").has_error
        assert question.prompt.endswith(":")


def test_letters_beyond_ascii_do_not_shift_the_gap() -> None:
    (unit,) = units("const größe = (länge: number): string => `${länge} °`;\n")
    prefix, suffix = mask(unit.source, unit.qualname, slots(unit)[0])
    assert (prefix, suffix) == ("const größe = (länge: ", "): string => `${länge} °`;\n")


def test_a_long_body_keeps_the_statements_with_the_name_and_parses() -> None:
    filler = "".join(f"  log('step number {n} of many');\n" for n in range(30))
    text = f"function f(wanted: Date) {{\n{filler}  use(wanted);\n{filler}  const last: number = 1;\n}}\n"
    for kind, name, kept in [("param", "wanted", "use(wanted);"), ("var", "last", "const last")]:
        item = next(found for found in questions_in(text, "f.ts") if found.row.name == name)
        question = ask(item.source, item.row)
        assert question is not None
        assert question.truncated
        assert len(question.prefix + question.suffix) <= MAX_CODE
        assert item.row.kind == kind
        assert kept in question.prompt
        assert "\n  // ...\n" in question.prompt
        assert "// ...\n  // ..." not in question.prompt
        assert not parse(f"{question.prefix}Date{question.suffix}").has_error


def test_what_cannot_be_shortened_is_not_asked() -> None:
    item = next(questions_in(f"const f = (x: number) => {' + '.join(['x'] * 200)};\n", "f.ts"))
    assert ask(item.source, item.row) is None


def test_a_broken_function_spoils_no_other() -> None:
    text = "function broken(x: number { return x; }\n\nexport function f(x: number) { return x; }\n"
    assert ("f", "param", "x") in asked(f"export function f(x: number) {{ return x; }}\n{text.splitlines()[0]}\n")
    assert not any(name == "broken" for name, _, _ in asked(text))


def test_a_folder_of_both_languages_asks_both(folder: Path) -> None:
    (folder / "own.py").write_text("def double(value: bytes):\n    return value * 2\n")
    (folder / "types.d.ts").write_text("export function no(x: number): void;\n")
    task = TypesTask(folder)
    languages = {example.meta["path"]: example.meta["language"] for example in task.examples()}
    assert languages["own.py"] == "python"
    assert languages["part3.ts"] == "typescript"
    assert set(languages) == {"own.py", *(f"part{number}.ts" for number in range(10))}
    assert "Python or TypeScript (10)" in task.datasheet()


def test_answers_of_typescript_are_decided_by_their_normal_form(folder: Path) -> None:
    task = TypesTask(folder)
    example = next(example for example in task.examples() if example.answer == "string[]")
    assert task.stop == ("\n",)
    assert task.decide(example, " Array<string>) {") is Outcome.CORRECT
    assert task.decide(example, " string") is Outcome.WRONG
    assert task.decide(example, " that depends") is Outcome.WRONG


def test_a_folder_without_typescript_keeps_its_stops(tmp_path: Path) -> None:
    task = TypesTask(tmp_path)
    assert task.stop == TypesTask.stop
    assert task.oracle() == {}


def test_rows_of_a_jsonl_file_are_files(tmp_path: Path) -> None:
    rows = [{"content": f"function f{n}(x: {kind}) {{ return [x, {n}]; }}\n"} for n, kind in enumerate(["A", "Date"])]
    rows[0]["content"] = "import {A} from 'a';\n" + rows[0]["content"]
    rows += [
        {"content": "def g(x: int):\n    return x\n", "path": "src/g.py", "stars": 3},
        {"content": "", "path": "x.c"},
    ]
    path = tmp_path / "code.jsonl"
    path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    examples = TypesTask(path).examples()
    assert {example.meta["path"]: example.answer for example in examples} == {
        "1.ts": "A",
        "3.ts": "Date",
        "5/src/g.py": "int",
    }
    path.write_text('{"text": "x"}\n')
    with pytest.raises(InputError, match=r"code.jsonl line 1: 'content' is missing; give a string"):
        scan(path)


@needs_tsc
def test_tsc_accepts_what_has_no_type_error_and_nothing_else(box: Sandbox) -> None:
    assert tsc_accepts("export const x: number = 1;\n", box) is True
    assert tsc_accepts("export const x: number = 'one';\n", box) is False
    assert (tsc_version(box) or "").startswith("Version ")


@needs_tsc
def test_tsc_proves_an_alias_and_no_looser_type(box: Sandbox) -> None:
    assert proven_same("type Id = string;\n", "Id", "string", box)
    for source, one in [
        ("", "any"),
        ("import { Id } from './id';\n", "Id"),
        ("// @ts-nocheck\ntype Id = number;\n", "Id"),
    ]:
        assert proven_same(source, one, "string", box) is False


def test_without_tsc_nothing_can_be_said(box: Sandbox, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert tsc_accepts("let x: number = 1;\n", box) is None
    assert tsc_version(box) is None
    assert TypesTask(folder, box=box).oracle() == {"tsc": "not installed"}


def alias_of(folder: Path, name: str) -> Example:
    (folder / f"{name}.ts").write_text(
        f"type {name} = Date;\nexport function tell{name}(moment: {name}) {{\n  return moment.getTime() + 12345;\n}}\n"
    )
    return next(one for one in TypesTask(folder).examples() if one.meta["qualname"] == f"tell{name}")


@needs_tsc
def test_a_spelling_that_tsc_proves_identical_is_correct(folder: Path, box: Sandbox) -> None:
    example, task = alias_of(folder, "Moment"), TypesTask(folder, box=box)
    assert example.answer == "Moment"
    assert task.decide(example, " Date") is Outcome.CORRECT
    assert task.decide(example, " any") is Outcome.WRONG
    assert task.oracle()["isolation"] == box.isolation.detail


def test_the_same_spelling_is_wrong_without_tsc(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example, task = alias_of(folder, "Moment"), TypesTask(folder)
    monkeypatch.setenv("PATH", "/nowhere")
    assert task.decide(example, " Moment") is Outcome.CORRECT
    assert task.decide(example, " Date") is Outcome.WRONG


def test_a_row_names_its_place_in_the_file() -> None:
    row = next(found.row for found in questions_in(FILE, "box.ts"))
    assert isinstance(row, Row)
    lines = FILE.splitlines()
    assert lines[row.line - 1].startswith("export async function load")
    assert lines[row.end_line - 1] == "}"
