"""Nothing is asked twice, and nothing stale is served."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from ellora_trust.evaluation.asking.answers import Asking, answer_all
from ellora_trust.evaluation.asking.cache import ItemCache, digest, state_of
from ellora_trust.intervention import ActivationEdit, Nothing, WeightChange
from ellora_trust.loading import load
from steering.application import Steering


def count_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    import ellora_trust.evaluation.asking.answers as module

    asked: list[int] = []
    real = module.run

    def counting(model, passages, **how):
        asked.append(len(passages))
        return real(model, passages, **how)

    monkeypatch.setattr(module, "run", counting)
    return asked


def test_a_second_time_nothing_is_generated_and_nothing_decided(tiny, echo, monkeypatch):
    asked = count_runs(monkeypatch)
    first = answer_all(tiny, echo, echo.examples(), cache=ItemCache(state_of(tiny)))
    decided = echo.decided
    assert sum(asked) == 40
    again = answer_all(tiny, echo, echo.examples(), cache=ItemCache(state_of(tiny)))
    assert again == first
    assert (sum(asked), echo.decided) == (40, decided)


def test_a_killed_run_goes_on_where_it_stopped(tiny, echo, monkeypatch):
    asked = count_runs(monkeypatch)
    cache = ItemCache(state_of(tiny))
    answer_all(tiny, echo, echo.examples(limit=24), cache=cache, asking=Asking(chunk=8))
    answer_all(tiny, echo, echo.examples(), cache=cache, asking=Asking(chunk=8))
    assert asked == [8, 8, 8, 8, 8]


def test_another_decoding_is_another_answer(tiny, echo, monkeypatch):
    asked = count_runs(monkeypatch)
    cache = ItemCache(state_of(tiny))
    for asking in (Asking(), Asking(temperature=1.0), Asking(temperature=1.0, seed=1), Asking(temperature=1.0)):
        answer_all(tiny, echo, echo.examples(limit=4), cache=cache, asking=asking)
    assert asked == [4, 4, 4]


def test_sampled_answers_do_not_depend_on_what_was_known(tiny, echo):
    examples, asking = echo.examples(), Asking(temperature=1.0)
    whole = answer_all(tiny, echo, examples, cache=ItemCache(None), asking=asking)
    cache = ItemCache(state_of(tiny))
    answer_all(tiny, echo, examples[:11], cache=cache, asking=asking)
    assert answer_all(tiny, echo, examples, cache=cache, asking=asking) == whole


def test_a_changed_weight_file_is_never_served_a_stale_answer(tiny_folder, echo):
    """Same path, same size, same time of change: only the bytes differ."""
    file = tiny_folder / "model.safetensors"
    before = load(tiny_folder)
    old = answer_all(before, echo, echo.examples(), cache=ItemCache(state_of(before)))
    stat = file.stat()
    save_file({name: tensor.flip(0) for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_mtime_ns, file.stat().st_size) == (stat.st_mtime_ns, stat.st_size)
    after = load(tiny_folder)
    cache = ItemCache(state_of(after))
    new = answer_all(after, echo, echo.examples(), cache=cache)
    assert state_of(after) != state_of(before)
    assert cache.hits == 0
    assert new == answer_all(after, echo, echo.examples(), cache=ItemCache(None))
    assert new != old


def test_weights_changed_in_memory_are_another_state(tiny):
    name = "model.layers.0.mlp.down_proj.weight"
    before = state_of(tiny)
    with WeightChange({name: tiny.hf.state_dict()[name] + 1}).apply(tiny):
        assert state_of(tiny) != before
    assert state_of(tiny) == before


def test_strength_and_direction_of_steering_are_part_of_the_state(tiny):
    directions = {"resid.0": torch.ones(32)}
    states = [
        state_of(tiny, one)
        for one in (
            Nothing(),
            Steering(directions, 1.0),
            Steering(directions, 2.0),
            Steering({"resid.0": torch.ones(32) * (1 + 2**-23)}, 1.0),
            Steering({"resid.1": torch.ones(32)}, 1.0),
        )
    ]
    assert len(set(states)) == 5
    assert states[1] == state_of(tiny, Steering({"resid.0": torch.ones(32)}, 1.0))


def test_what_cannot_be_identified_is_not_cached(tiny, echo, monkeypatch):
    asked = count_runs(monkeypatch)
    assert digest(ActivationEdit({"resid.0": lambda hidden, at: hidden * 2})) is None
    for _ in range(2):
        answer_all(tiny, echo, echo.examples(limit=4), cache=ItemCache(state_of(tiny, lambda: None)))
    assert asked == [4, 4]


def test_a_cache_that_cannot_be_written_costs_time_only(tiny, echo, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = ItemCache(state_of(tiny), root=blocked)
    assert len(answer_all(tiny, echo, echo.examples(limit=4), cache=cache)) == 4


def test_a_damaged_file_knows_nothing_and_stops_nothing(tmp_path):
    cache = ItemCache("a" * 32, tmp_path)
    cache.put({"x": 1})
    (path,) = tmp_path.rglob("items*")
    path.write_bytes(b"not a database, though as long as one " * 100)
    assert ItemCache("a" * 32, tmp_path).get(["x"]) == {}


def test_large_integers_of_a_delta_are_told_apart():
    assert digest(torch.tensor([2**24])) != digest(torch.tensor([2**24 + 1]))
