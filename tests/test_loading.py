"""Models are loaded from folders and GGUF files, once, safely, and know their fingerprint."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from tiny_gguf import write_gguf
from tiny_models import make_model

from ellora_trust import builtin, fingerprint
from ellora_trust.artifacts import Artifact, read, read_description, write
from ellora_trust.builtin import convert_gguf
from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.intervention import ActivationEdit, Chain, Intervention, Nothing, WeightChange
from ellora_trust.loading import load


def test_a_folder_loads_to_the_same_logits(tiny, tiny_folder: Path):
    again = load(tiny_folder)
    assert again.score(["x ="], [" 1"])[0].sum == pytest.approx(tiny.score(["x ="], [" 1"])[0].sum, abs=1e-6)


def test_dtype_is_the_one_asked_for(tiny_folder: Path):
    assert load(tiny_folder, dtype="bfloat16").hf.dtype == torch.bfloat16
    assert load(tiny_folder).hf.dtype == torch.float32


def test_an_unknown_dtype_is_said_before_a_built_in_model_is_converted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ellora_trust.loading.ensure", None)  # not reached
    with pytest.raises(InputError, match="unknown dtype 'int3'; use one of float32"):
        load("smollm2", dtype="int3")


def test_fingerprint_follows_weights_config_and_dtype(tiny_folder: Path):
    model = load(tiny_folder)
    first = model.fingerprint
    assert load(tiny_folder).fingerprint == first
    assert fingerprint.of_weights(model.hf) == first
    assert load(tiny_folder, dtype="bfloat16").fingerprint != first
    with torch.no_grad():
        kept = model.arch.head.weight[0, 0].clone()
        model.arch.head.weight[0, 0] += 1
    assert model.fingerprint != first
    with torch.no_grad():
        model.arch.head.weight[0, 0] = kept
    assert model.fingerprint == first


def test_fingerprint_is_not_computed_twice(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch):
    first = load(tiny_folder).fingerprint
    monkeypatch.setattr(fingerprint, "of_weights", lambda hf: pytest.fail("computed again"))
    assert load(tiny_folder).fingerprint == first


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "somebody/something",
            r"'somebody/something' is not built in \(smollm2, testbed, testbed-clean, testbed-lds\), not a folder, and",
        ),
        ("empty", "has no config.json; give a folder that save_pretrained wrote"),
        ("text.gguf", "is not a GGUF file"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(name: str, message: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.gguf").write_text("not weights")
    with pytest.raises(InputError, match=message):
        load(name)


def test_pickled_weights_are_refused(tiny, tmp_path: Path):
    tiny.hf.config.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    torch.save(tiny.hf.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="give a causal language model in safetensors"):
        load(tmp_path)


def convert(path: Path, cache: str, together, results) -> None:
    import os

    os.environ["ELLORA_TRUST_CACHE"] = cache
    together.wait(120)
    results.put(str(convert_gguf(path)))


def test_two_processes_convert_a_gguf_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setenv("ELLORA_TRUST_CACHE", str(tmp_path / "cache"))
    context = multiprocessing.get_context("spawn")
    together, results = context.Barrier(2), context.Queue()
    args = (tmp_path / "tiny.gguf", str(tmp_path / "cache"), together, results)
    other = context.Process(target=convert, args=args)
    other.start()
    together.wait(120)
    folder = convert_gguf(tmp_path / "tiny.gguf")
    assert results.get(timeout=120) == str(folder)
    other.join()
    model = load(tmp_path / "tiny.gguf")
    assert model.arch.n_layers == 1
    assert type(model.arch.head).__name__ == "Linear"
    left = [p.name for p in (tmp_path / "cache" / "models").iterdir() if p.name.startswith(".")]
    assert left == []


def test_a_gguf_with_another_hash_is_refused(tmp_path: Path):
    write_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(InputError, match=r"has sha256 .*, expected 00; install the wheel again"):
        convert_gguf(tmp_path / "tiny.gguf", expected_sha256="00")


def test_a_disk_without_room_for_the_conversion_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr(builtin.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(EnvironmentProblem, match="free some space or set ELLORA_TRUST_CACHE"):
        convert_gguf(tmp_path / "tiny.gguf")


def test_artifacts_round_trip_and_damaged_or_foreign_ones_are_refused(tmp_path: Path):
    folder = tmp_path / "thing"
    write(folder, Artifact("error-probe", {"name": "m", "fingerprint": "f" * 64}), {"weight": torch.ones(3)})
    artifact, tensors = read(folder, kind="error-probe")
    assert artifact.model["name"] == "m"
    assert torch.equal(tensors["weight"], torch.ones(3))
    with pytest.raises(InputError, match="holds a error-probe, not a steering-vector"):
        read(folder, kind="steering-vector")
    description = (folder / "artifact.json").read_text()
    (folder / "artifact.json").write_text(description.replace('"schema": 1', '"schema": 99'))
    with pytest.raises(InputError, match="has schema 99, this version reads up to 1; upgrade"):
        read_description(folder)
    (folder / "artifact.json").write_text(description[:40])
    with pytest.raises(InputError, match=r"is damaged .* make the artifact again"):
        read_description(folder)
    (folder / "artifact.json").write_text(description)
    (folder / "tensors.safetensors").write_bytes(b"\x00" * 4)
    with pytest.raises(InputError, match="is damaged or missing"):
        read(folder, kind="error-probe")
    with pytest.raises(InputError, match="is not an artifact"):
        read_description(tmp_path)


def test_interventions_change_the_model_and_give_it_back_bit_for_bit():
    model = make_model("llama")
    name = "model.layers.0.mlp.down_proj.weight"
    change = WeightChange({name: torch.zeros_like(model.hf.state_dict()[name])})
    shift = ActivationEdit({"resid.1": lambda h, at: h + 1})
    for intervention in (change, shift, Chain([change, shift])):
        assert isinstance(intervention, Intervention)
        before, plain = fingerprint.of_weights(model.hf), model.score(["x ="], [" 1"])[0].sum
        with intervention.apply(model):
            assert abs(model.score(["x ="], [" 1"])[0].sum - plain) > 1e-6
        assert fingerprint.of_weights(model.hf) == before
        assert model.score(["x ="], [" 1"])[0].sum == plain
        with pytest.raises(ZeroDivisionError), intervention.apply(model):
            1 / 0  # noqa: B018
        assert fingerprint.of_weights(model.hf) == before
    with Nothing().apply(model):
        assert model.score(["x ="], [" 1"])[0].sum == plain


def test_a_weight_change_that_does_not_fit_is_refused_before_anything_is_written():
    model = make_model("llama")
    before = fingerprint.of_weights(model.hf)
    name = "model.layers.0.mlp.down_proj.weight"
    for tensors, message in [
        ({"nothing.weight": torch.zeros(1)}, "has no tensor 'nothing.weight'"),
        ({name: torch.zeros(2, 2)}, r"has shape \(2, 2\); tiny-llama needs \(32, 48\)"),
    ]:
        with pytest.raises(InputError, match=message), WeightChange(tensors).apply(model):
            pass
    assert fingerprint.of_weights(model.hf) == before


def test_a_slip_in_a_built_in_name_asks_no_hub(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", Mock(side_effect=AssertionError("asked the hub")))
    for slip, meant in (("testbd", "testbed"), ("smolm2", "smollm2"), ("testbed-lsd", "testbed-lds")):
        with pytest.raises(InputError, match=f"unknown model '{slip}'.*did you mean '{meant}'"):
            load(slip)
