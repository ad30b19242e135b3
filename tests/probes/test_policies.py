"""Flagging changes nothing; abstention ends one row and no other; a resampled answer is the least risky one drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import make_model
from tiny_probes import made_probe

from ellora_trust.errors import InputError
from probes import ErrorProbe
from probes.watching.attach import attach
from probes.watching.readout import calibrate_running_max

PROMPTS = ["def add(a, b):\n    return", "x = 1", "for i in range(10):\n    print(i)\n", "y = x[:]", "é = '日本'", "a"]


@pytest.fixture(scope="module")
def model():
    made = make_model("llama")
    made.tokenizer.padding_side = "left"
    return made


def inputs_of(model, prompts=PROMPTS):
    return model.tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)


def middle(values) -> float:
    """A threshold that some reach and some do not."""
    ordered = sorted(values)
    return float((ordered[len(ordered) // 2 - 1] + ordered[len(ordered) // 2]) / 2)


def test_flags_follow_the_threshold(model):
    probe = made_probe(model)
    with attach(probe, model) as watch:
        model.generate(PROMPTS, max_new_tokens=6)
    threshold = middle(a.risk for a in watch.answers)
    with attach(probe, model, threshold=threshold) as again:
        model.generate(PROMPTS, max_new_tokens=6)
    assert again.flags == [a.risk >= threshold for a in watch.answers]
    assert any(again.flags)
    assert not all(again.flags)


def test_flagging_reads_the_device_only_when_the_answers_are_done(model, monkeypatch):
    from probes.watching.trace import Trace

    drained: list[int] = []
    plain = Trace.drain
    monkeypatch.setattr(Trace, "drain", lambda self: (drained.append(len(self)), plain(self))[1])
    with attach(made_probe(model, position="prompt_end"), model) as watch:
        model.hf.generate(**inputs_of(model), max_new_tokens=9, min_new_tokens=9, pad_token_id=0)
        model.generate(["one", "another"], max_new_tokens=9)
    assert len(watch.answers) == 2
    assert min(n for n in drained if n) > 1


@pytest.mark.parametrize("ours", [True, False])
def test_a_row_that_abstains_ends_and_the_others_go_on(model, ours: bool):
    probe = made_probe(model, position="answer.last")

    def generate():
        if ours:
            return [g.tokens for g in model.generate(PROMPTS, max_new_tokens=8)]
        out = model.hf.generate(**inputs_of(model), max_new_tokens=8, pad_token_id=0)
        return out[:, inputs_of(model).input_ids.shape[1] :].tolist()

    with attach(probe, model) as free:
        before = generate()
    threshold = middle(max(a.risks, default=0.0) for a in free.answers)
    with attach(probe, model, policy="abstain", threshold=threshold, min_tokens=1) as watch:
        after = generate()
    stopped = [i for i, a in enumerate(watch.answers) if a.finish == "abstain"]
    assert 0 < len(stopped) < len(PROMPTS)
    for i, (one, other) in enumerate(zip(free.answers, watch.answers, strict=True)):
        first = next((n for n, risk in enumerate(one.risks) if risk >= threshold), None)
        if i in stopped:
            assert first is not None
            assert other.tokens == one.tokens[: first + 1]
            assert other.risks[-1] >= threshold
            assert f"stopped after {first + 1} tokens at risk" in other.reason
            assert after[i][: first + 1] == before[i][: first + 1]
        else:
            # Only the last token, after which there is nothing left to stop, may be as risky.
            assert first is None or first == len(one.tokens) - 1
            assert after[i][: len(one.tokens)] == before[i][: len(one.tokens)]


def test_a_risky_prompt_is_not_answered_at_all(model):
    probe = made_probe(model, position="prompt_end")
    with attach(probe, model, policy="abstain", threshold=0.0) as watch:
        answers = model.generate(PROMPTS, max_new_tokens=4)
    assert [(a.text, a.tokens, a.finish) for a in answers] == [("", [], "abstain")] * len(PROMPTS)
    with attach(probe, model) as free:
        model.generate(PROMPTS, max_new_tokens=4)
    assert [a.score for a in watch.answers] == pytest.approx([a.score for a in free.answers], abs=1e-5)
    threshold = middle(a.risk for a in free.answers)
    with attach(probe, model, policy="abstain", threshold=threshold):
        some = model.generate(PROMPTS, max_new_tokens=4)
    assert {g.finish == "abstain" for g in some} == {True, False}


def test_a_callback_sees_every_token_and_can_end_an_answer(model):
    seen: dict[int, list[int | None]] = {}

    def stop_second_after_two(event):
        seen.setdefault(event.answer, []).append(event.token)
        return event.answer == 1 and event.n_tokens == 2

    with attach(made_probe(model), model, policy=stop_second_after_two) as watch:
        done = model.generate(PROMPTS, max_new_tokens=5)
    assert done[1].finish == "abstain"
    assert len(done[1].tokens) == 2
    assert len(done[3].tokens) == 5
    # The last token of an answer is read, but nothing is left to decide after it.
    assert all(seen[i][0] is None and seen[i][1:] == g.tokens[: len(seen[i]) - 1] for i, g in enumerate(done))
    ours, seen = dict(seen), {}
    with attach(made_probe(model), model, policy=stop_second_after_two) as again:
        model.hf.generate(**inputs_of(model), max_new_tokens=5, pad_token_id=0)
    assert seen == ours
    assert [a.tokens for a in again.answers] == [a.tokens for a in watch.answers]


def test_the_processor_leaves_a_risky_row_only_the_end(model):
    probe = made_probe(model, position="prompt_end")
    given = inputs_of(model)
    n = given.input_ids.shape[1]
    with attach(probe, model) as free:
        plain = model.hf.generate(**given, max_new_tokens=5, pad_token_id=0)
    threshold = middle(a.risk for a in free.answers)
    with attach(probe, model, threshold=threshold) as watch:
        out = model.hf.generate(**given, max_new_tokens=5, pad_token_id=0, logits_processor=[watch.logits_processor()])
    for i, answer in enumerate(free.answers):
        expected = [0] * 5 if answer.risk >= threshold else plain[i, n:].tolist()
        assert out[i, n:].tolist() == expected
    with attach(probe, model, threshold=threshold) as watch:
        model.hf.generate(**given, max_new_tokens=5, pad_token_id=0, stopping_criteria=[watch.stopping_criteria()])
    assert [a.finish == "abstain" for a in watch.answers] == [a.risk >= threshold for a in free.answers]


@pytest.mark.parametrize("ours", [True, False])
def test_resampling_keeps_the_least_risky_draw(model, ours: bool):
    probe = made_probe(model)
    draws: list[list[float]] = []

    def generate(seed: int):
        if ours:
            return [g.tokens for g in model.generate(PROMPTS, max_new_tokens=6, temperature=1.0, seed=seed)]
        torch.manual_seed(seed)
        return model.hf.generate(**inputs_of(model), max_new_tokens=6, do_sample=True, pad_token_id=0)

    with attach(probe, model) as watch:
        generate(0)
        draws.append([a.risk for a in watch.answers])
    with attach(probe, model, policy="resample", samples=5, threshold=0.0) as watch:
        kept = generate(0)
    assert len(kept) == len(PROMPTS)
    risks = [a.risk for a in watch.answers]
    assert all(risk <= first for risk, first in zip(risks, draws[0], strict=True))
    assert np.mean(risks) < np.mean(draws[0])
    if ours:
        assert kept == [a.tokens for a in watch.answers]
    # Nothing reaches this threshold, so nothing is drawn again.
    with attach(probe, model, policy="resample", samples=5, threshold=1.0) as watch:
        generate(0)
    assert [a.risk for a in watch.answers] == pytest.approx(draws[0], abs=1e-6)


def test_policies_that_cannot_work_are_refused(model):
    probe = made_probe(model)
    with attach(probe, model, policy="resample"):
        with pytest.raises(InputError, match="nothing is drawn at temperature 0"):
            model.generate(PROMPTS)
        with pytest.raises(InputError, match="use do_sample=True and num_beams=1"):
            model.hf.generate(**inputs_of(model), max_new_tokens=3, pad_token_id=0)
    with attach(probe, model, policy="abstain"), pytest.raises(InputError, match="3 beams are no answers yet"):
        model.hf.generate(**inputs_of(model), max_new_tokens=3, num_beams=3, pad_token_id=0)
    with attach(probe, model), pytest.raises(InputError, match="needs token ids; give input_ids"):
        model.hf.generate(inputs_embeds=torch.zeros(1, 3, 32), max_new_tokens=3, pad_token_id=0)


def test_the_running_maximum_has_a_calibration_of_its_own_and_keeps_it(model, tmp_path):
    rng = np.random.default_rng(0)
    wrong = rng.random(300) < 0.4
    scores = [rng.normal(size=rng.integers(3, 30)) + 2.0 * bad for bad in wrong]
    groups = np.arange(300) // 2
    probe = made_probe(model)
    probe.running_max_ = calibrate_running_max(probe, scores, wrong, groups)
    highest = np.array([s.max() for s in scores])
    assert abs(probe.running_max_(highest).mean() - wrong.mean()) < 0.01
    # The position's own calibration does not hold for a maximum.
    assert probe.calibration_(highest).mean() > wrong.mean() + 0.2
    probe.save(tmp_path / "probe", model=model)
    again = ErrorProbe.load(tmp_path / "probe")
    assert again.running_max_ == probe.running_max_
    with attach(again, model, readout="running_max") as watch:
        model.generate(PROMPTS, max_new_tokens=6)
    empty = [a for a in watch.answers if not a.scores]
    assert [(a.highest, a.deciding_risk, a.flagged) for a in empty] == [(None, None, False)] * len(empty)
    for answer in (a for a in watch.answers if a.scores):
        assert answer.highest == pytest.approx(max(answer.scores))
        assert answer.deciding_risk == answer.highest_risk
        assert answer.highest_risk == pytest.approx(float(probe.running_max_(np.array([answer.highest]))[0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, w, g: (s[:-1], w, g), "token scores of 39 answers, 40 verdicts and 40 groups"),
        (lambda s, w, g: ([[], *s[1:]], w, g), "answer 0 has no token scores"),
        (lambda s, w, g: (s, w, g * 0), "only 1 groups have wrong answers; 5 folds need"),
        (lambda s, w, g: (s, 1 - w, g), "wrong answers have no higher maximum"),
    ],
)
def test_a_maximum_that_cannot_be_calibrated_is_refused(model, change, message: str):
    wrong = np.arange(40) % 2
    scores = [[0.1, float(bad) + 0.01 * i] for i, bad in enumerate(wrong)]
    with pytest.raises(InputError, match=message):
        calibrate_running_max(made_probe(model), *change(scores, wrong, np.arange(40)))
