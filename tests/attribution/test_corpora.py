"""Corpora: the same documents from every place, read when asked for, and a sentence where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from attribution.corpora import Corpus, Where
from ellora_trust.errors import InputError
from ellora_trust.testbed import corpus
from ellora_trust.testbed.export import export

ROWS = {"id": ["a", "b"], "content": ["x = 1\n", "y = 2\n"], "license": ["MIT", None], "stars": [3, 4]}


def test_a_folder_of_source_files_is_read_by_path(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.f90").write_text("end program\n")
    (tmp_path / "a.py").write_bytes(b"x = '\xff'\n")
    (tmp_path / "notes.txt").write_text("no code")
    found = Corpus.open(tmp_path)
    assert [one.id for one in found] == ["a.py", "deep/b.f90"]
    assert found[0].text == "x = '�'\n"
    assert found[-1].columns == {"path": "deep/b.f90"}
    assert [one.id for one in found[:1]] == ["a.py"]
    with pytest.raises(IndexError):
        found[2]


def test_a_datasets_folder_keeps_the_columns_a_result_names(tmp_path: Path):
    Dataset.from_dict(ROWS).save_to_disk(str(tmp_path / "rows"))
    found = Corpus.open(tmp_path / "rows", column="content")
    assert [(one.id, one.text, one.columns) for one in found] == [
        ("a", "x = 1\n", {"license": "MIT"}),
        ("b", "y = 2\n", {"license": None}),
    ]
    DatasetDict({"valid": Dataset.from_dict(ROWS)}).save_to_disk(str(tmp_path / "dict"))
    assert len(Corpus.open(tmp_path / "dict", column="content", split="valid", limit=1)) == 1
    with pytest.raises(InputError, match="has no split 'train'; use valid"):
        Corpus.open(tmp_path / "dict", column="content")
    with pytest.raises(InputError, match="has no column 'text'; use one of id, content"):
        Corpus.open(tmp_path / "rows")


def test_the_testbed_and_its_export_are_the_same_documents(tmp_path: Path):
    direct = Corpus.open("testbed-lds", limit=50)
    export(corpus(0, n_tokens=70_000), tmp_path / "out")
    stored = Corpus.open(tmp_path / "out", limit=50)
    assert [(one.id, one.text) for one in stored] == [(one.id, one.text) for one in direct]
    assert all(one.columns["licence"] and one.columns["path"] for one in direct)


def test_it_opens_again_from_what_it_says_of_itself(tmp_path: Path):
    (tmp_path / "a.py").write_text("x = 1\n")
    found = Corpus.open(tmp_path, limit=3)
    assert list(Corpus.found(Where(**found.described()))) == list(found)


def test_nothing_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    with pytest.raises(InputError, match="holds no source file"):
        Corpus.open(tmp_path)
    with pytest.raises(InputError, match="is not testbed, testbed-lds or a folder"):
        Corpus.open("nobody/nothing")
    with pytest.raises(InputError, match="limit 0 is out of range"):
        Corpus.open(tmp_path, limit=0)
