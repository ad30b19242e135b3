"""Shards appear whole, survive a kill, and are the same bytes however often the work was interrupted."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from ellora_trust import cachedir
from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.hooks import capture
from ellora_trust.loading import load
from ellora_trust.store import ActivationStore

PROMPTS = [f"x{i} = {i}\n" * (1 + i % 7) for i in range(150)]


def contents(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()
    }


def test_a_stored_capture_equals_one_in_memory(tiny, tmp_path: Path):
    positions = ["last", "mean", "all"]
    memory = capture(tiny, PROMPTS, "resid.*", positions)
    stored = capture(tiny, PROMPTS, "resid.*", positions, store=tmp_path)
    assert set(stored) == set(memory)
    for key, value in memory.items():
        for a, b in zip(value, stored[key], strict=True):
            assert torch.allclose(a, b, atol=1e-5)


def test_a_killed_capture_started_again_gives_the_same_bytes(tiny_folder: Path, tmp_path: Path):
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        import torch
        import ellora_trust as et
        from ellora_trust import store
        torch.set_num_threads(int(sys.argv[3]))
        prompts = [f"x{i} = {i}\\n" * (1 + i % 7) for i in range(150)]
        write = store.ActivationStore.write
        def write_or_die(self, shard, *rest):
            if shard == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            write(self, shard, *rest)
        store.ActivationStore.write = write_or_die
        et.capture(et.load(sys.argv[1]), prompts, "resid.*", ["last", "mean"], store=Path(sys.argv[2]))
        """
    )
    command = [sys.executable, "-c", script, str(tiny_folder), str(tmp_path / "a"), str(torch.get_num_threads())]
    assert subprocess.run(command, capture_output=True, timeout=300, check=False).returncode == -9
    partial = contents(tmp_path / "a")
    assert len([name for name in partial if name.endswith(".safetensors")]) == 1
    for name in ("a", "b"):
        capture(load(tiny_folder), PROMPTS, "resid.*", ["last", "mean"], store=tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert partial.items() <= contents(tmp_path / "a").items()


def test_another_model_prompt_or_site_never_finds_these_shards(tiny, tmp_path: Path):
    from tiny_models import make_model

    capture(tiny, PROMPTS[:3], "resid.0", "last", store=tmp_path)
    capture(tiny, PROMPTS[:4], "resid.0", "last", store=tmp_path)
    capture(tiny, PROMPTS[:3], "resid.1", "last", store=tmp_path)
    capture(make_model("llama", seed=1), PROMPTS[:3], "resid.0", "last", store=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_shard_is_named_with_the_remedy(tiny, tmp_path: Path):
    capture(tiny, PROMPTS[:3], "resid.0", "last", store=tmp_path)
    shard = next(tmp_path.rglob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(InputError, match=r"shard-00000.safetensors is damaged .* delete it and run again"):
        capture(tiny, PROMPTS[:3], "resid.0", "last", store=tmp_path)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EROFS, "the file system is read-only; choose another folder"),
        (errno.EACCES, "writing is not permitted there"),
    ],
)
def test_a_disk_that_fills_is_one_sentence_and_leaves_nothing_half_written(
    tiny, tmp_path, monkeypatch, number, message
):
    def full(*args, **kwargs):
        raise OSError(number, "no")

    monkeypatch.setattr(cachedir.os, "fsync", full)
    with pytest.raises(EnvironmentProblem, match=message):
        capture(tiny, PROMPTS[:3], "resid.0", "last", store=tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_replacing_keeps_the_old_content_after_an_exception(tmp_path: Path):
    target = tmp_path / "results.json"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), cachedir.replacing(target) as beside:
        beside.write_text("new" * (1 // 0))
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def folder_of(path: Path, text: str) -> None:
    path.mkdir()
    (path / "a").write_text(text)
    (path / "b").write_text(text)


def test_a_folder_is_replaced_whole_also_where_the_old_one_cannot_be_deleted(tmp_path: Path, monkeypatch):
    target = tmp_path / "edit"
    folder_of(target, "old")
    with cachedir.replacing(target) as beside:
        folder_of(beside, "new")
    assert [path.read_text() for path in sorted(target.iterdir())] == ["new", "new"]
    assert list(tmp_path.iterdir()) == [target]

    def killed(path: Path) -> None:
        (path / "a").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(cachedir.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt), cachedir.replacing(target) as beside:
        folder_of(beside, "newer")
    assert [path.read_text() for path in sorted(target.iterdir())] == ["newer", "newer"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path: Path, monkeypatch):
    target = tmp_path / "edit"
    folder_of(target, "old")
    replace = cachedir.os.replace

    def stubborn(source: Path, to: Path) -> None:
        if source.suffix == ".part":
            raise OSError(errno.EACCES, "no")
        replace(source, to)

    monkeypatch.setattr(cachedir.os, "replace", stubborn)
    with pytest.raises(EnvironmentProblem, match="writing is not permitted"), cachedir.replacing(target) as beside:
        folder_of(beside, "new")
    assert [path.read_text() for path in sorted(target.iterdir())] == ["old", "old"]
    assert list(tmp_path.iterdir()) == [target]


def test_asking_for_what_was_not_captured_says_what_was(tiny):
    got = capture(tiny, PROMPTS[:2], "resid.0", ["last", "all"])
    with pytest.raises(InputError, match=r"no activations at .*; sites: resid.0; positions: all, last"):
        got["resid.1", "last"]
    with pytest.raises(InputError, match="position 'all' keeps every token; use a reduced one"):
        got.vectors("resid.0", "all")


def test_cleaning_refuses_names_that_lead_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(cachedir.VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "cache" / "activations" / "abc").mkdir(parents=True)
    (tmp_path / "cache" / "activations" / "abc" / "x").write_text("12345")
    (tmp_path / "precious").write_text("keep")
    assert cachedir.entries() == [("activations/abc", 5)]
    with pytest.raises(InputError, match="is not in the cache"):
        cachedir.clean("../precious")
    with pytest.raises(InputError, match="the cache has no entry 'models/none'"):
        cachedir.clean("models/none")
    assert cachedir.clean("activations") == 5
    assert (tmp_path / "precious").exists()


def test_a_store_of_another_description_is_refused(tmp_path: Path):
    store = ActivationStore(tmp_path, {"model": "a"}, [0, 1])
    (store.folder / "store.json").write_text("{}")
    with pytest.raises(InputError, match="describes another capture; delete"):
        ActivationStore(tmp_path, {"model": "a"}, [0, 1])


def test_a_folder_is_made_before_the_work_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert cachedir.made(tmp_path / "new" / "run").is_dir()
    assert cachedir.made(tmp_path / "new" / "run").is_dir()
    # The tests may run as root, to whom all folders are writable.
    monkeypatch.setattr(cachedir.os, "access", lambda *_: False)
    with pytest.raises(EnvironmentProblem, match="writing is not permitted"):
        cachedir.made(tmp_path)
