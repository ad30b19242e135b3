"""Notebooks are short, have their outputs, and run; those of the testbed here, the real model's by `make notebooks`."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
ALL = sorted(FOLDER.glob("*.ipynb"))
ON_THE_TESTBED = [path for path in ALL if "smollm2" not in path.read_text(encoding="utf-8")]


def test_there_is_one_notebook_for_each_question():
    assert [path.name[:2] for path in ALL] == [f"{n:02}" for n in range(1, len(ALL) + 1)]
    assert len(ON_THE_TESTBED) == len(ALL) - 1


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_notebook_is_short_defines_nothing_and_shows_its_small_outputs(path: Path):
    cells = nbformat.read(path, as_version=4).cells
    assert len(cells) <= 15
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert not any(line.startswith(("def ", "class ")) for cell in code for line in cell.source.splitlines())
    outputs = [out for cell in code for out in cell.outputs]
    assert outputs
    assert not any(out.output_type == "error" or out.get("name") == "stderr" for out in outputs)
    assert path.stat().st_size < 300_000


@pytest.mark.parametrize("path", ON_THE_TESTBED, ids=lambda path: path.stem)
def test_a_notebook_of_the_testbed_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Small models: two kernels of two threads each on two cores take several times as long as of one.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
