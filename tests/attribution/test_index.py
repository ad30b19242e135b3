"""The gradient index: same bytes again, after a kill too; its own model only; damage said; the planted text first."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from tiny_models import make_model

import attribution.documents.building
from attribution.asking import Library
from attribution.corpora import Corpus
from attribution.documents.building import Plan, Source
from attribution.documents.shared_scan import kept_scores, place_of, scan_share
from attribution.gradient.encoding import differing, encode, products, width_of
from attribution.gradient.losses import spans, whole
from attribution.index import GradientIndex
from ellora_trust import InputError
from ellora_trust.share import Share

LINES = ["def f(x):\n    return x + 1\n", "y = [1, 2]\n", "for i in range(10):\n    print(i)\n", "a = b\n"]
PLAN = Plan(bits=256, int8=512, share=0.5, shard_size=5)


def sources(n: int = 12) -> list[Source]:
    return [
        Source(f"doc-{i}", f"{LINES[i % 4]}z{i} = {i * 7}\n", {"path": f"{i}.py", "licence": "MIT"}) for i in range(n)
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("shard-*")}


@pytest.fixture(scope="module")
def built(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("index") / "one"
    return GradientIndex.build(tiny, sources(), folder, plan=PLAN)


def test_the_same_build_gives_the_same_bytes(tiny, built, tmp_path):
    GradientIndex.build(tiny, sources(), tmp_path / "two", plan=PLAN)
    assert len(contents(built.folder)) == 3
    assert contents(tmp_path / "two") == contents(built.folder)


def test_a_build_killed_in_the_middle_goes_on_to_the_same_bytes(tiny, built, tmp_path, monkeypatch):
    folder, original, calls = tmp_path / "two", attribution.documents.building.write_shard, []

    def killed(*args):
        if calls:
            raise KeyboardInterrupt
        calls.append(original(*args))

    monkeypatch.setattr(attribution.documents.building, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        GradientIndex.build(tiny, sources(), folder, plan=PLAN)
    assert [path.name for path in folder.glob("*shard*")] == ["shard-00000.safetensors"]
    with pytest.raises(InputError, match="is not finished; build it again"):
        GradientIndex.load(folder, tiny)
    monkeypatch.setattr(attribution.documents.building, "write_shard", original)
    kept = (folder / "shard-00000.safetensors").stat().st_mtime_ns
    GradientIndex.build(tiny, sources(), folder, plan=PLAN)
    assert (folder / "shard-00000.safetensors").stat().st_mtime_ns == kept
    assert contents(folder) == contents(built.folder)


def test_two_processes_write_the_bytes_of_one(tiny, built, tmp_path):
    folder = tmp_path / "two"
    assert not GradientIndex.build_share(tiny, sources(), folder, Share(1, 2), plan=PLAN)
    assert [path.name for path in folder.glob("shard-*")] == ["shard-00001.safetensors"]
    with pytest.raises(InputError, match="is not finished"):
        GradientIndex.load(folder, tiny)
    assert GradientIndex.build_share(tiny, sources(), folder, Share(0, 2), plan=PLAN)
    assert contents(folder) == contents(built.folder)
    assert len(GradientIndex.load(folder, tiny)) == 12


def test_documents_can_be_added(tiny, tmp_path):
    grown = GradientIndex.build(tiny, sources(5), tmp_path / "two", plan=PLAN).extend(sources(12)[5:])
    assert len(grown) == 12
    targets = [whole(tiny, LINES[0])]
    scores = GradientIndex.load(tmp_path / "two", tiny).scores(targets)
    assert scores.shape == (1, 12)
    np.testing.assert_allclose(scores, grown.scores(targets))


def test_the_document_that_is_the_query_ranks_first_with_its_columns(tiny, built):
    for number in (3, 8):
        source = sources()[number]
        (hits,) = built.query([whole(tiny, source.text)], k=3)
        assert hits[0].id == source.id
        assert hits[0].sign == "proponent"
        assert hits[0].columns == source.columns
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_opponents_are_the_lowest_scores(tiny, built):
    targets = [whole(tiny, LINES[1])]
    scores = built.scores(targets)[0]
    (hits,) = built.query(targets, k=2, opponents=True)
    assert [hit.id for hit in hits] == [f"doc-{i}" for i in np.argsort(scores)[:2]]
    assert all((hit.score > 0) == (hit.sign == "proponent") for hit in hits)


@pytest.mark.parametrize("encoding", ["bits", "int8"])
def test_scores_follow_the_exact_dot_products(tiny, built, encoding):
    from attribution.gradient.rows import Projector

    index = built
    layers = index.projector.layers
    targets = [whole(tiny, text) for text in LINES]
    documents = [whole(tiny, source.text) for source in sources()]
    exact = Projector(tiny, layers, index._curvature, projection=None)
    expected = exact.numbers(targets) @ exact.numbers(documents).T
    found = index.scores(targets, encoding=encoding)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(("n_bytes", "encoding"), [(4096, "bits"), (4096, "int8"), (101, "bits")])
def test_products_are_right_on_average_and_nearly_so_once(n_bytes, encoding):
    rng, width = np.random.default_rng(0), width_of(encoding, n_bytes)
    query = rng.normal(size=width).astype(np.float32)
    rows = (rng.normal(size=(200, width)) + np.linspace(-1, 1, 200)[:, None] * query).astype(np.float32)
    found, exact = products(encode(rows, encoding), query, encoding), rows @ query
    assert np.corrcoef(found, exact)[0, 1] > (0.95 if n_bytes == 101 else 0.999)
    slope = float(np.polyfit(exact[80:120], found[80:120], 1)[0])  # small angles: signs bend at large ones
    assert slope == pytest.approx(1, abs=0.15)


def test_differing_bits_are_counted():
    codes = np.array([[0b00000000] * 8, [0b11111111] * 8, [0b00001111] * 8], np.uint8)
    assert differing(codes, np.zeros(8, np.uint8)).tolist() == [0, 64, 32]
    assert differing(codes[:, :3], np.zeros(3, np.uint8)).tolist() == [0, 24, 12]


def test_a_span_of_the_target_can_be_asked_about(tiny, built):
    text = sources()[2].text
    start = text.index("print")
    (hits,) = built.query([spans(tiny, text, [(start, start + 5)])], k=4)
    assert all("print" in sources()[int(hit.id.split("-")[1])].text for hit in hits[:2])


def test_another_model_is_refused(built):
    with pytest.raises(InputError, match="this gradient-index was fitted on tiny-llama"):
        GradientIndex.load(built.folder, make_model("llama", seed=1))


def test_a_corrupt_shard_is_one_sentence(tiny, tmp_path):
    index = GradientIndex.build(tiny, sources(), tmp_path / "two", plan=PLAN)
    path = index.folder / "shard-00001.safetensors"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(InputError, match=r"shard-00001.safetensors is damaged \(its checksum differs\)"):
        GradientIndex.load(index.folder, tiny).query([whole(tiny, LINES[0])])
    path.write_bytes(good[:100])
    with pytest.raises(InputError, match=r"shard-00001.safetensors is damaged or missing"):
        GradientIndex.load(index.folder, tiny).query([whole(tiny, LINES[0])])


def test_a_document_without_tokens_is_one_sentence(tiny, tmp_path):
    with pytest.raises(InputError, match="document empty has no token that something predicts"):
        GradientIndex.build(tiny, [*sources(3), Source("empty", "")], tmp_path / "two", plan=PLAN)
    with pytest.raises(InputError, match="there is no document to index"):
        GradientIndex.build(tiny, [], tmp_path / "three", plan=PLAN)


def test_a_folder_of_other_documents_or_another_plan_is_refused(tiny, tmp_path):
    GradientIndex.build(tiny, sources(), tmp_path / "two", plan=PLAN)
    with pytest.raises(InputError, match="holds other documents"):
        GradientIndex.build(tiny, sources()[::-1], tmp_path / "two", plan=PLAN)
    with pytest.raises(InputError, match="an index of another plan"):
        GradientIndex.build(tiny, sources(), tmp_path / "two", plan=Plan(bits=64))


def test_plain_gradients_can_be_indexed_too(tiny, tmp_path):
    index = GradientIndex.build(tiny, sources(), tmp_path / "two", plan=Plan(bits=512, whitening="none"))
    (hits,) = index.query([whole(tiny, sources()[4].text)], k=12)
    assert "doc-4" in [hit.id for hit in hits[:3]]
    assert torch.isfinite(torch.tensor([hit.score for hit in hits])).all()


def test_the_shipped_index_predicts_retraining(tmp_path):
    from attribution.gradient.losses import answer
    from ellora_trust.loading import load
    from ellora_trust.testbed.lds import SHIPPED, Truth, lds

    truth, model = Truth.read(), load(SHIPPED)
    index = GradientIndex.build(model, [Source(one.id, one.text) for one in truth.documents()], tmp_path / "index")
    scores = index.scores([answer(model, one.prompt, one.answer, end=True) for one in truth.queries])
    found = lds(scores, truth).value
    assert found.low > 0.35, found  # plain gradients, exact, have 0.352; empty buckets once left 0.1


def test_shares_of_a_scan_give_what_one_scan_gives_and_a_missing_one_gives_nothing(tiny, built, tmp_path):
    index, targets = built, [whole(tiny, "x = 1\n")]
    place = place_of(tmp_path, {"prompt": "x"})
    assert index.n_shards > 2
    assert not scan_share(index, targets[0], Share(1, 3), place)
    assert kept_scores(index, place) is None
    assert not scan_share(index, targets[0], Share(0, 3), place)
    assert scan_share(index, targets[0], Share(2, 3), place)
    found = kept_scores(index, place)
    assert found is not None
    assert np.array_equal(found, index.scores(targets))


def test_an_index_of_other_documents_is_another_one_also_in_the_same_folder(tiny, tmp_path):
    documents = [Source(f"{n}.py", f"x = {n}\n") for n in range(4)]
    first = GradientIndex.build(tiny, documents, tmp_path / "index").identity
    assert GradientIndex.build(tiny, documents, tmp_path / "again").identity == first
    shutil.rmtree(tmp_path / "index")
    assert GradientIndex.build(tiny, [*documents[1:], documents[0]], tmp_path / "index").identity != first


def test_scores_that_shares_left_are_not_those_of_another_model(tiny, built):
    question, documents = ("x = ", "1\n"), cast(Corpus, sources())
    ours = Library(tiny, built, documents)
    assert ours.scan_share(*question, Share(0, 1))
    assert kept_scores(built, ours._place(*question, None, None)) is not None
    other = copy.deepcopy(tiny)
    with torch.no_grad():
        other.arch.head.weight.mul_(1.5)
    forced = Library(other, GradientIndex.load(built.folder, other, force=True), documents)
    assert kept_scores(forced.index, forced._place(*question, None, None)) is None
