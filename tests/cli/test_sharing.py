"""Two processes write disjoint shards of one store, and one call joins them to what one process would have written."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from ellora_trust.errors import InputError
from ellora_trust.hooks import Recorder, capture
from ellora_trust.positions import Passage
from ellora_trust.runs import run
from ellora_trust.share import Share
from ellora_trust.store import ActivationStore

PROMPTS = [f"x{i} = {i}\n" * (1 + i % 7) for i in range(300)]


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = tuple(
    "accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --main_process_port 0 "
    "--mixed_precision no --dynamo_backend no".split()
)


def shards(cache: Path) -> dict[str, str]:
    return {
        str(p.relative_to(cache)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in cache.rglob("shard-*.safetensors")
    }


def labels(path: Path, n: int = 200) -> Path:
    rows = [{"prompt": f"x = {i}\nprint(x) # ", "answer": str(i % 9), "wrong": i % 3 == 0} for i in range(n)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def launched(args: list[object], cache: Path, launcher: Sequence[str] = TORCHRUN) -> subprocess.Popen[str]:
    """The command line in two processes."""
    here = cache.with_name("launched")  # for the launcher's own files
    here.mkdir()
    env = {**os.environ, "ELLORA_TRUST_CACHE": str(cache), "OMP_NUM_THREADS": "1", "TMPDIR": str(here)}
    command = [sys.executable, "-m", *launcher, "-m", "ellora_trust", *map(str, args)]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def done(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def test_two_ranks_label_what_one_process_labels_byte_by_byte(go, tiny_folder: Path, tmp_path: Path, monkeypatch):
    """By the variables that a launcher sets; real ones are started below."""
    asked = ["probe", "label", "--model", tiny_folder, "--labels", labels(tmp_path / "answers.jsonl")]
    together, alone = tmp_path / "together", tmp_path / "alone"
    monkeypatch.setenv("ELLORA_TRUST_CACHE", str(together))
    for rank in ("0", "1"):
        with monkeypatch.context() as launcher:
            launcher.setenv("RANK", rank)
            launcher.setenv("WORLD_SIZE", "2")
            code, said, err = go(*asked, "--out", tmp_path / "a")
        assert code == 0, err
        assert f"share {int(rank) + 1}/2 is done; when all are, run the same command once alone" in said
        assert not (tmp_path / "a").exists()
    both_are_one(go, asked, together, alone, tmp_path, monkeypatch)


@pytest.mark.slow
def test_two_ranks_of_torchrun_label_what_one_process_labels_byte_by_byte(
    go, tiny_folder: Path, tmp_path: Path, monkeypatch
):
    asked = ["probe", "label", "--model", tiny_folder, "--labels", labels(tmp_path / "answers.jsonl")]
    together, alone = tmp_path / "together", tmp_path / "alone"
    said = done(launched([*asked, "--out", tmp_path / "a"], together))
    for share in ("1/2", "2/2"):
        assert f"share {share} is done; when all are, run the same command once alone" in said
    assert not (tmp_path / "a").exists()
    both_are_one(go, asked, together, alone, tmp_path, monkeypatch)


def both_are_one(go, asked: list[object], together: Path, alone: Path, tmp_path: Path, monkeypatch) -> None:
    """Join the two shares, label alone, and compare every byte."""
    before = shards(together)
    for name, cache in (("a", together), ("b", alone)):
        monkeypatch.setenv("ELLORA_TRUST_CACHE", str(cache))
        assert go(*asked, "--out", tmp_path / name)[0] == 0
    assert len(before) == 4
    assert before == shards(together) == shards(alone)
    assert (tmp_path / "a" / "labels-answers.jsonl").read_text() == (
        tmp_path / "b" / "labels-answers.jsonl"
    ).read_text()


def test_two_ranks_of_accelerate_index_what_one_process_indexes(go, tiny_folder: Path, tmp_path: Path):
    (tmp_path / "code").mkdir()
    for number, text in enumerate(PROMPTS[:40]):
        (tmp_path / "code" / f"{number}.py").write_text(text)
    asked = ["attribute", "index", tmp_path / "code", "--model", tiny_folder]
    done(launched([*asked, "--out", tmp_path / "two"], tmp_path / "cache", ACCELERATE))
    assert go(*asked, "--out", tmp_path / "one")[0] == 0
    assert len(shards(tmp_path / "one")) > 0
    assert shards(tmp_path / "two") == shards(tmp_path / "one")


def test_a_share_that_never_came_is_computed_by_the_joining_call(go, tiny_folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("ELLORA_TRUST_CACHE", str(tmp_path / "cache"))
    asked = [
        "probe",
        "label",
        "--model",
        tiny_folder,
        "--labels",
        labels(tmp_path / "a.jsonl"),
        "--out",
        tmp_path / "a",
    ]
    assert go(*asked, "--shard", "2/2")[0] == 0
    half = shards(tmp_path / "cache")
    assert sorted(name[-17:-12] for name in half) == ["00001", "00003"]
    assert "200 answers" in go(*asked)[1]
    assert half.items() <= shards(tmp_path / "cache").items()
    taken = ["probe", "extract", "--site", "mlp.*", "--position", "answer", "--out", tmp_path / "a"]
    for share in ("1/3", "2/3", "3/3"):
        assert json.loads(go(*taken, "--shard", share, "--json")[1]) == {"share": share, "joined": False}
    before = shards(tmp_path / "cache")
    assert json.loads(go(*taken, "--json")[1])["tasks"]["a"]["positions"] == ["answer"]
    assert before == shards(tmp_path / "cache")


def test_a_killed_rank_started_again_goes_on_where_it_was(tiny, tmp_path: Path, monkeypatch):
    expected = capture(tiny, PROMPTS, "resid.*", "last")
    passages = [Passage(prompt) for prompt in PROMPTS]

    def rank(number: int) -> None:
        recorder = Recorder(tiny, ["resid.*"], ["last"])
        run(tiny, passages, recorder=recorder, store=tmp_path, share=Share(number, 2))

    rank(0)
    write, written = ActivationStore.write, []

    def write_or_die(self, shard, *rest):
        if written:
            raise KeyboardInterrupt
        written.append(shard)
        write(self, shard, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(ActivationStore, "write", write_or_die)
        with pytest.raises(KeyboardInterrupt):
            rank(1)
    assert len(shards(tmp_path)) == 4
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("shard-*")}
    rank(1)
    assert len(shards(tmp_path)) == 5
    assert all(p.stat().st_mtime_ns == at for p, at in before.items())
    joined = capture(tiny, PROMPTS, "resid.*", "last", store=tmp_path)
    for key, value in expected.items():
        assert torch.allclose(joined[key], value, atol=1e-5)


def test_answers_of_a_task_are_shared_too(tiny, tmp_path: Path):
    from echo_task import Echo

    from ellora_trust.labeling import label
    from ellora_trust.sharing import answer_share

    asked = {"sites": "resid.*", "store": tmp_path}
    for share in ("1/2", "2/2"):
        answer_share(tiny, Echo(), Share.parse(share), **asked)
    before = shards(tmp_path)
    joined, alone = label(tiny, Echo(), **asked), label(tiny, Echo(), sites="resid.*")
    assert before == shards(tmp_path)
    assert joined.content_hash() == alone.content_hash()


def test_a_share_needs_a_store(tiny):
    with pytest.raises(InputError, match="share 1/2 has nowhere to go; give the folder"):
        run(tiny, [Passage("x")], recorder=Recorder(tiny, ["resid.0"], ["last"]), share=Share(0, 2))
