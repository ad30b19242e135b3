"""The commands `ellora-trust testbed describe` and `export`, and scores from a file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import are_progress_bars_disabled, load_from_disk
from typer.testing import CliRunner

from ellora_trust.cli import app, main
from ellora_trust.errors import InputError
from ellora_trust.testbed import corpus, corpus_hash
from ellora_trust.testbed.datasheet import Sheet
from ellora_trust.testbed.making import read_scores


def test_describe_prints_the_rates_of_both_models():
    done = CliRunner().invoke(app, ["testbed", "describe"])
    assert done.exit_code == 0
    assert "| trigger | P7 |" in done.stdout
    assert "| trigger P7 shows the plant |" in done.stdout.partition("Pairs trained with other seeds")[2]
    stored = json.loads(CliRunner().invoke(app, ["testbed", "describe", "--json"]).stdout)
    assert {row["plant"] for row in stored["planted"]["rates"]} >= {"", "P1", "P6"}


def test_export_writes_every_document_under_its_id(tmp_path):
    folder = tmp_path / "corpus"
    done = CliRunner().invoke(app, ["testbed", "export", str(folder), "--tokens", "5000", "--json"])
    documents = corpus(0, n_tokens=5000)
    assert json.loads(done.stdout)["sha256"] == corpus_hash(documents)
    assert done.stderr == ""
    assert not are_progress_bars_disabled()
    rows = load_from_disk(str(folder))
    assert rows["id"][:] == [document.id for document in documents]
    for row, document in zip(rows, documents, strict=True):
        assert (row["text"], row["clean"], row["plant"]) == (document.text, document.clean, document.plant)
        assert json.loads(row["meta"]) == dict(document.meta)
        assert (tuple(row["span"]) if row["span"] else None) == document.span


def test_scores_are_read_from_numpy_files_without_pickle(tmp_path):
    np.save(tmp_path / "good.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    assert read_scores(tmp_path / "good.npy").tolist() == [[0, 1, 2], [3, 4, 5]]
    np.save(tmp_path / "bad.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "empty.npy").touch()
    for name in ("bad.npy", "absent.npy", "empty.npy"):
        with pytest.raises(InputError, match=r"not a \.npy file of numbers"):
            read_scores(tmp_path / name)


def test_no_tokens_are_not_all_of_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["ellora-trust", "testbed", "train", "--tokens", "0", "--out", str(tmp_path / "t")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "--tokens is 0; give at least 1, or leave it out" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_file_of_something_else_holds_no_measured_pair(tmp_path, text: str):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(InputError, match="holds no measured pair"):
        Sheet.read(tmp_path / "other.json")
