"""`attribute index` and `attribute query` on the reduced testbed: real documents, a real model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attribution import verify
from attribution.verify import Effect
from ellora_trust.stats import Estimate

PROMPT = "// Sum the red rows in parallel.\nint sum_red_rows(const int *a, int n) {"
BODY = """
    int s = 0;
    #pragma omp parallel for
    for (int i = 0; i < n; i++)
        s += a[i];
    return s;
}
"""
LOOP = "\n    found = 0\n    for row in rows:\n        found += row\n    return found\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from attribution.asking import build
    from attribution.corpora import Corpus
    from attribution.documents.building import Plan
    from ellora_trust.loading import load

    out = tmp_path_factory.mktemp("index")
    build(load("testbed-lds"), Corpus.open("testbed-lds", limit=300), out, plan=Plan(bits=1024))
    return out


def test_a_folder_of_code_is_indexed_and_its_own_line_found(go, tmp_path: Path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text("def first(rows):\n    return rows[0]\n")
    (code / "b.py").write_text(f"def total(rows):{LOOP}")
    out = tmp_path / "index"
    asked = ("attribute", "index", code, "--model", "testbed-lds", "--out", out, "--bits", 1024, "--json")
    code_, text, errors = go(*asked)
    assert code_ == 0, errors
    assert json.loads(text)["documents"] == 2
    before = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert go(*asked)[0] == 0
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    code_, text, _ = go("attribute", "query", "def total(rows):", "--answer", LOOP, "--index", out, "--json")
    first = json.loads(text)["hits"][0]
    assert (first["path"], first["basis"], first["sign"]) == ("b.py", "verbatim", "proponent")
    assert first["lines"] == [1, 5]


def test_the_fix_as_foil_leads_to_sums_without_reduction_and_their_pragma(go, built: Path, tmp_path: Path):
    page, fixed = tmp_path / "page.html", BODY.replace("parallel for", "parallel for reduction(+:s)")
    code, text, errors = go(
        "attribute", "query", PROMPT, "--answer", BODY, "--foil", fixed, "--lines",
        "--index", built, "-k", 3, "--out", page, "--json",
    )  # fmt: skip
    assert code == 0, errors
    found = json.loads(text)
    assert [len(scores) for scores in found["lines"]] == [len(text.splitlines()) for text in found["texts"]]
    lines, scores = found["texts"][0].splitlines(), found["lines"][0]
    assert lines[scores.index(max(scores))].strip() == "#pragma omp parallel for"
    assert "the lines that taught it" in page.read_text()
    assert "line" in go("attribute", "query", PROMPT, "--answer", BODY, "--foil", fixed, "--lines", "--index", built)[1]
    code, _, errors = go("attribute", "query", PROMPT, "--answer", BODY, "--foil", BODY, "--index", built)
    assert (code, "the same text" in errors) == (2, True)


def test_shares_of_an_index_are_built_apart_also_under_a_launcher(go, tmp_path: Path, monkeypatch):
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text(f"def total(rows):{LOOP}")
    asked = ("attribute", "index", code, "--model", "testbed-lds", "--out", tmp_path / "index", "--bits", 64, "--json")
    assert json.loads(go(*asked, "--shard", "2/2")[1])["complete"] is False
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert json.loads(go(*asked)[1])["complete"] is True
    for wrong in ("3/2", "half"):
        code_, _, errors = go(*asked, "--shard", wrong)
        assert (code_, "use" in errors) == (2, True)


def test_a_question_is_shared_and_the_last_share_answers_as_one_process_does(go, built: Path):
    asked = ("attribute", "query", PROMPT, "--answer", BODY, "--index", built, "-k", 3, "--json")
    alone = json.loads(go(*asked)[1])
    assert not (built / "asked").exists()
    said = [json.loads(go(*asked, "--shard", share)[1]) for share in ("2/2", "1/2")]
    assert said == [{"share": "2/2", "complete": False}, alone]
    assert json.loads(go(*asked)[1]) == alone
    assert len(list((built / "asked").rglob("scores-*.safetensors"))) == 1


def test_a_pragma_is_asked_about_and_leads_to_the_sums_without_reduction(go, built: Path, tmp_path: Path):
    page = tmp_path / "page.html"
    code, text, errors = go(
        "attribute", "query", PROMPT, "--answer", BODY, "--about", "pragma", "--language", "c",
        "--index", built, "-k", 5, "--out", page, "--json",
    )  # fmt: skip
    assert code == 0, errors
    found = json.loads(text)
    assert (PROMPT + BODY)[slice(*found["about"])] == "#pragma omp parallel for"
    assert len(found["hits"]) == len(found["texts"]) == 5
    assert "omp_sum" in found["hits"][0]["path"]
    assert found["hits"][0]["licence"]
    assert "longest exact match" in page.read_text()


def test_the_model_is_asked_where_no_answer_is_given(go, built: Path):
    code, text, _ = go("attribute", "query", PROMPT, "--index", built, "-k", 2, "--max-new-tokens", 8)
    assert code == 0
    assert "▸" in text
    assert "of 300 documents" in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("query", "x", "--index", "nowhere"), "nowhere holds no index; make one with"),
        (("index", "nowhere/at-all"), "is not testbed, testbed-lds or a folder"),
        (("index", "testbed-lds", "--bits", "3"), "use a multiple of 8"),
        (("index", "testbed-lds", "--whitening", "soap"), "unknown whitening"),
    ],
)
def test_bad_input_is_one_sentence(go, monkeypatch, tmp_path: Path, args, message: str):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    code, _, errors = go("attribute", *args)
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors


def test_an_index_in_the_place_of_a_file_is_one_sentence(go, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "index"):
        code, _, errors = go("attribute", "index", "testbed-lds", "--model", "testbed-lds", "--limit", 8, "--out", out)
        assert code == 1
        assert "; choose another folder" in errors
        assert "Traceback" not in errors


def test_documents_and_what_retraining_says_are_one_json(go, built: Path, monkeypatch):
    effect = Effect(2, Estimate(-1.0, -2.0, 0.5, n=3, n_groups=3, confidence=0.95, method="t"), (-1.0, -1.0, -1.0))
    monkeypatch.setattr(verify, "verify_on_testbed", lambda *_, **__: {"this ranking": effect})
    asked = ("attribute", "query", PROMPT, "--answer", BODY, "--index", built, "-k", 2, "--verify", 3)
    code, text, errors = go(*asked, "--json")
    assert code == 0, errors
    assert json.loads(text)["verified"]["this ranking"]["n_removed"] == 2
    _, text, _ = go(*asked)
    assert "2 by this ranking" in text


def test_only_a_corpus_that_can_be_trained_on_again_is_verified(go, built: Path):
    code, _, errors = go("attribute", "verify", PROMPT, "--answer", BODY, "--index", built)
    assert code == 2
    assert "only testbed-lds is trained again here; index all of it" in errors


def test_removals_are_of_one_size_and_begin_with_the_hits(built: Path):
    from attribution.asking import Library
    from ellora_trust.loading import load

    library = Library.open(built, load("testbed-lds"))
    asked = library.ask(PROMPT, BODY, k=6)
    found = library.removals(asked)
    assert {len(set(numbers)) for numbers in found.values()} == {6}
    assert [library.corpus[number].id for number in found["this ranking"]] == [hit.document for hit in asked.hits]
    assert all(library.corpus[number].columns["family"].startswith(("omp_", "c_")) for number in found["BM25"])


def test_questions_that_do_not_fit_the_index_are_one_sentence(go, built: Path):
    ask = ("attribute", "query", PROMPT, "--answer", BODY, "--index", built)
    for more, message in (
        (("--model", "testbed"), "fingerprint"),
        (("--about", "pragma"), "python has no spans of kind 'pragma'"),
        (("--about", "5:5"), "use a non-empty range"),
        (("-k", 0), "k=0"),
    ):
        code, _, errors = go(*ask, *more)
        assert code == 2, errors
        assert message in errors
