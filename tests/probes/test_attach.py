"""An attached probe says while the model writes what it says offline, and changes nothing."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import make_model
from tiny_probes import made_probe

from ellora_trust.decoding import Decoding
from ellora_trust.errors import InputError
from ellora_trust.hooks import Recorder, capture
from ellora_trust.labeling import label
from ellora_trust.positions import Passage
from ellora_trust.runs import run
from ellora_trust.tasks import load_task
from probes import ErrorProbe
from probes.watching.attach import attach

HEADER = "def one():\n    return 1\n\ndef two():\n    return 2\n\n"
PROMPTS = [
    "def add(a, b):\n    return",
    "x = 1",
    "for i in range(10):\n    print(i, i + 1)\n",
    "y = x[:]",
    "é = '日本'",
    "a",
    "while True:",
    "z = y[:]\nz",
]
MODELS: dict[tuple[str, torch.dtype], Any] = {}


def model_of(family: str, dtype: torch.dtype = torch.float32):
    key = (family, dtype)
    if key not in MODELS:
        MODELS[key] = make_model(family, dtype=dtype)
        MODELS[key].tokenizer.padding_side = "left"
    return MODELS[key]


def inputs_of(model, prompts=PROMPTS):
    return model.tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)


def offline(model, probe: ErrorProbe, prompt: str, ids: list[int]) -> tuple[float, np.ndarray]:
    """Score of the answer at the probe's position, and of each of its tokens: one unpadded forward, no cache."""
    passage = Passage(prompt, "?" if ids else "", answer_ids=tuple(ids) if ids else None)
    found = capture(model, [passage], probe.site_, [probe.position_, "answer.all"])
    tokens = found[probe.site_, "answer.all"][0]
    each = probe.decision(tokens) if len(tokens) else np.empty(0)
    return float(probe.decision(found[probe.site_, probe.position_])[0]), each


def assert_equals_offline(model, probe, watch, prompts) -> None:
    for prompt, answer in zip(prompts, watch.answers, strict=True):
        score, each = offline(model, probe, prompt, answer.tokens[: answer.n_answer])
        assert answer.score == pytest.approx(score, abs=1e-3)
        assert len(answer.scores) == answer.n_answer
        assert answer.scores == pytest.approx(each.tolist(), abs=1e-3)
        assert answer.risk == pytest.approx(float(probe.calibration_(np.array([score]))[0]), abs=1e-3)


def trace_of(model) -> tuple[int, str, bool]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")
    count = sum(len(getattr(module, kind)) for module in model.hf.modules() for kind in kinds)
    digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in model.hf.state_dict().values()))
    own = "generate" in model.hf.__dict__ or "generate" in model.__dict__ or bool(model.observers)
    return count, digest.hexdigest(), own


@pytest.mark.parametrize(
    "position", ["prompt_end", "answer", "answer.last", "answer.first", "prompt", "text.mean", "last", "2"]
)
@pytest.mark.parametrize("header", ["", HEADER])
def test_our_own_generation_scores_as_the_recorder_that_probes_are_fitted_with(tiny, position: str, header: str):
    probe = made_probe(tiny, position=position)
    prompts = [header + prompt for prompt in PROMPTS]
    decodings = [Decoding(8), Decoding(8, stop=("\n", "e", "ab")), Decoding(10, temperature=1.0, seed=3)]
    for decoding in decodings:
        recorder = Recorder(tiny, ["resid.1"], [position])
        passages = [Passage(prompt) for prompt in prompts]
        reference = run(tiny, passages, decoding=decoding, recorder=recorder)
        with attach(probe, tiny) as watch:
            got = run(tiny, passages, decoding=decoding).generations
        assert [g.tokens for g in got] == [g.tokens for g in reference.generations]
        expected = probe.decision(reference.activations["resid.1", position])
        assert expected.std() > 0.01 or (header and position == "2")
        assert [a.score for a in watch.answers] == pytest.approx(expected.tolist(), abs=1e-3)
        assert [a.finish for a in watch.answers] == [g.finish for g in got]
    assert {a.finish for a in watch.answers} == {"eos", "length"}


@pytest.mark.parametrize(
    ("family", "dtype"), [("llama", torch.float32), ("gpt2", torch.float64), ("opt", torch.float32)]
)
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("use_cache", [True, False])
def test_transformers_generation_streams_the_offline_scores(family: str, dtype, batch: int, use_cache: bool):
    model = model_of(family, dtype)
    probe = made_probe(model)
    prompts = PROMPTS[:batch]
    with attach(probe, model.hf) as watch:
        out = model.hf.generate(**inputs_of(model, prompts), max_new_tokens=8, use_cache=use_cache, pad_token_id=0)
    assert out.shape[0] == batch
    assert_equals_offline(model, probe, watch, prompts)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 3},
        {"num_beams": 4, "num_return_sequences": 2},
        {"num_beams": 3, "use_cache": False},
        {"num_beams": 2, "do_sample": True},
        {"do_sample": True, "num_return_sequences": 3},
        {"prompt_lookup_num_tokens": 3},
    ],
)
def test_beams_and_samples_have_the_scores_of_their_final_sequences(family: str, settings: dict[str, Any]):
    model = model_of(family)
    probe = made_probe(model, position="answer")
    prompts = PROMPTS[:1] if "prompt_lookup_num_tokens" in settings else PROMPTS
    given = {**inputs_of(model, prompts), **settings, "max_new_tokens": 9, "pad_token_id": 0}
    torch.manual_seed(0)
    plain = model.hf.generate(**given)
    torch.manual_seed(0)
    with attach(probe, model.hf) as watch:
        watched = model.hf.generate(**given)
    assert torch.equal(plain, watched)
    repeats = len(watched) // len(prompts)
    assert_equals_offline(model, probe, watch, [p for p in prompts for _ in range(repeats)])


def test_beams_really_move_between_rows_in_these_tests():
    model = model_of("llama")
    out = model.hf.generate(
        **inputs_of(model), num_beams=3, max_new_tokens=9, pad_token_id=0, return_dict_in_generate=True
    )
    rows = out.beam_indices
    assert any(len(set(row[row >= 0].tolist())) > 1 for row in rows)


def test_an_answer_ended_by_a_stop_string_of_transformers_has_the_library_s_own_end():
    model = model_of("llama")
    probe = made_probe(model, position="answer.last")
    decoding = Decoding(8, stop=("e", "("))
    reference = run(model, [Passage(p) for p in PROMPTS], decoding=decoding).generations
    stopped = [i for i, g in enumerate(reference) if g.finish == "stop"]
    assert stopped
    with attach(probe, model) as watch:
        model.generate(PROMPTS, max_new_tokens=8, stop=("e", "("))
        ours = watch.answers
        settings = {"stop_strings": ["e", "("], "tokenizer": model.tokenizer, "pad_token_id": 0, "max_new_tokens": 8}
        model.hf.generate(**inputs_of(model), **settings)
    for i in stopped:
        assert watch.answers[i].finish == "stop"
        assert watch.answers[i].tokens == ours[i].tokens
        assert watch.answers[i].score == pytest.approx(ours[i].score, abs=1e-3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_plain_forward_is_scored_under_either_padding(side: str):
    model = model_of("llama")
    probe = made_probe(model)
    model.tokenizer.padding_side = side
    try:
        inputs = inputs_of(model)
    finally:
        model.tokenizer.padding_side = "left"
    with attach(probe, model) as watch:
        model.hf(**inputs)
        scores = watch.forward_scores
    for row, prompt in zip(scores, PROMPTS, strict=True):
        each = probe.decision(capture(model, [prompt], "resid.1", "all")["resid.1", "all"][0])
        assert row[~np.isnan(row)] == pytest.approx(each, abs=1e-3)


def test_a_loop_of_one_s_own_with_a_cache_is_one_text(tiny):
    probe = made_probe(tiny)
    ids = torch.tensor([tiny.tokenizer("def f(x):\n    return x").input_ids])
    with attach(probe, tiny.hf) as watch, torch.no_grad():
        out = tiny.hf(ids[:, :4], use_cache=True)
        for t in range(4, ids.shape[1]):
            out = tiny.hf(ids[:, t : t + 1], past_key_values=out.past_key_values, use_cache=True)
        stepped = watch.forward_scores
        tiny.hf(ids)
        whole = watch.forward_scores
    assert stepped == pytest.approx(whole, abs=1e-3)


@pytest.mark.parametrize(("family", "dtype"), [("llama", torch.float32), ("gpt2", torch.float64)])
def test_watched_logits_are_bit_identical(family: str, dtype):
    model = model_of(family, dtype)
    settings = {"max_new_tokens": 6, "return_dict_in_generate": True, "output_logits": True, "pad_token_id": 0}
    plain = model.hf.generate(**inputs_of(model), **settings)
    with attach(made_probe(model), model):
        watched = model.hf.generate(**inputs_of(model), **settings)
        forward = model.hf(**inputs_of(model)).logits
    assert torch.equal(plain.sequences, watched.sequences)
    assert all(torch.equal(a, b) for a, b in zip(plain.logits, watched.logits, strict=True))
    assert torch.equal(forward, model.hf(**inputs_of(model)).logits)
    # A cache that the caller gets back ends where it ended before.
    assert plain.past_key_values.get_seq_length() == watched.past_key_values.get_seq_length()


def test_the_model_is_restored_also_after_an_exception():
    model = model_of("llama")
    before = trace_of(model)
    with attach(made_probe(model), model, policy="resample"):
        assert trace_of(model) != before
        model.generate(PROMPTS[:2], max_new_tokens=2, temperature=0.5)
    assert trace_of(model) == before
    with pytest.raises(ValueError, match="max_new_tokens"), attach(made_probe(model), model):
        model.generate(PROMPTS[:2], max_new_tokens=0)
    assert trace_of(model) == before


def test_an_interrupted_generation_leaves_no_trace_in_the_next():
    model = model_of("llama")
    probe = made_probe(model)

    def interrupt(event):
        raise KeyboardInterrupt

    with attach(probe, model, on_token=interrupt):
        with pytest.raises(KeyboardInterrupt):
            model.generate(PROMPTS, max_new_tokens=4)
        with pytest.raises(KeyboardInterrupt):
            model.hf.generate(**inputs_of(model), max_new_tokens=4, pad_token_id=0)
    with attach(probe, model) as watch:
        model.generate(PROMPTS[:2], max_new_tokens=4)
    assert_equals_offline(model, probe, watch, PROMPTS[:2])


def test_two_probes_watch_one_generation():
    model = model_of("llama")
    first, second = made_probe(model, position="prompt_end"), made_probe(model, site="resid.0")
    with attach(first, model) as one, attach(second, model) as two:
        model.generate(PROMPTS, max_new_tokens=6)
    assert_equals_offline(model, second, two, PROMPTS)
    for prompt, answer in zip(PROMPTS, one.answers, strict=True):
        assert answer.score == pytest.approx(offline(model, first, prompt, answer.tokens[:1])[0], abs=1e-3)


def test_labelling_under_watch_gives_scores_in_the_order_of_the_examples(tiny):
    probe = made_probe(tiny)
    with attach(probe, tiny) as watch:
        labelled = label(tiny, load_task("aliasing"), limit=12, sites="resid.1", positions=["answer"])
    expected = probe.decision(labelled.activations["resid.1", "answer"])
    assert [a.score for a in watch.answers] == pytest.approx(expected.tolist(), abs=1e-3)


def test_a_prompt_s_risk_is_known_before_the_first_token():
    model = model_of("llama")
    probe = made_probe(model, position="prompt_end")
    seen: dict[int, float | None] = {}
    with attach(probe, model, on_token=lambda e: seen.setdefault(e.answer, e.risk)) as watch:
        model.generate(PROMPTS, max_new_tokens=4)
    assert [seen[i] for i in range(len(PROMPTS))] == pytest.approx([a.risk for a in watch.answers], abs=1e-6)


def test_scores_can_be_read_while_the_answer_is_written():
    model = model_of("llama")
    lengths: list[list[int]] = []
    with attach(made_probe(model), model) as watch:
        listen = lambda: lengths.append([len(t.scores) for t in watch.token_risks])  # noqa: E731

        class Peek:
            needs_last = False
            start = begin = select = end = staticmethod(lambda *args: None)

            def stops(self, tokens):
                listen()
                return []

        model.observers.append(Peek())  # type: ignore[arg-type]
        try:
            model.generate(PROMPTS[3:4], max_new_tokens=4)
        finally:
            model.observers.pop()
    assert lengths[:4] == [[0], [1], [2], [3]]
    assert [len(t.risks) for t in watch.token_risks] == [len(watch.answers[0].scores)]


def test_a_pipeline_is_watched(tiny):
    from transformers import pipeline

    pipe = pipeline("text-generation", model=tiny.hf, tokenizer=tiny.tokenizer, device="cpu")
    probe = made_probe(tiny)
    with attach(probe, pipe) as watch:
        pipe("y = x[:]", max_new_tokens=5, do_sample=False, return_full_text=False)
    assert_equals_offline(tiny, probe, watch, ["y = x[:]"])


def test_another_model_is_refused_unless_forced(tmp_path):
    model, other = model_of("llama"), make_model("llama", seed=5)
    made_probe(model).save(tmp_path / "probe", model=model)
    probe = ErrorProbe.load(tmp_path / "probe")
    with pytest.raises(InputError, match=r"was fitted on tiny-llama .* but the model given is tiny-llama"):
        attach(probe, other).__enter__()
    with pytest.raises(InputError, match=r"but the model given has fingerprint .* or use force=True"):
        attach(probe, other.hf).__enter__()
    with attach(probe, model.hf), attach(probe, other.hf, force=True):
        pass


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"position_": "answer.max"}, {}, "position 'answer.max', which cannot be read token by token"),
        ({"position_": "-1"}, {}, "position '-1', which cannot be read token by token"),
        ({"site_": "resid.9"}, {}, "out of range for a model with 2 layers"),
        ({"site_": "given"}, {}, "fitted on a bare array, so its site is not known"),
        ({"site_": "head.0.0"}, {}, "this probe reads 32 values, but head.0.0 of this model has 8"),
        ({}, {"policy": "flagg"}, "unknown policy 'flagg'; .* did you mean 'flag'"),
        ({}, {"readout": "max"}, "unknown readout 'max'"),
        ({}, {"readout": "running_max"}, "running maximum has no calibration; fit one with calibrate_running_max"),
        ({}, {"threshold": 2.0}, "threshold is 2.0; it is a risk"),
        ({}, {"policy": "resample", "samples": 1}, "samples is 1; resample chooses among at least 2"),
        ({}, {"min_tokens": 0}, "min_tokens is 0"),
    ],
)
def test_what_cannot_be_attached_is_one_clear_sentence(tiny, change, settings, message: str):
    probe = made_probe(tiny)
    for name, value in change.items():
        setattr(probe, name, value)
    with pytest.raises(InputError, match=message):
        attach(probe, tiny, **settings).__enter__()
    assert not trace_of(tiny)[2]


def test_an_unfitted_probe_and_what_is_no_model_are_refused(tiny):
    with pytest.raises(InputError, match="this ErrorProbe is not fitted"):
        attach(ErrorProbe(), tiny).__enter__()
    with pytest.raises(InputError, match="str cannot be watched; give a CodeModel"):
        attach(made_probe(tiny), "smollm2").__enter__()
