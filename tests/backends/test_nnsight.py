"""Under nnsight, capture, edits, steering and answers are what they are without, and leave the model as it was."""

from __future__ import annotations

import pytest
import torch
from nnsight.intervention.backends.local import LocalSimulationBackend
from tiny_models import make_model

from ellora_trust.backends.nnsight import TracedModel, remote_model, traced
from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.hooks import capture, edit
from ellora_trust.loading import load
from steering import SteeringVector

PROMPTS = ["def add(a, b):\n    return", "x = 1", "for i in range(10):\n    print(i, i + 1, 'and more')\n", "y = x[:]"]
SITES = ["embed", "resid.*", "attn.*", "mlp.*", "head.1.*"]
POSITIONS = ["last", "mean", "max", "all", "prompt_end"]


def close(a, b) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    return bool(((a - b).norm(dim=-1) <= 1e-5 * a.norm(dim=-1).clamp_min(1e-6)).all())


def same(a, b) -> None:
    assert list(a) == list(b)
    assert [key for key in a if not close(a[key], b[key])] == []


@pytest.fixture(scope="module", params=["llama", "gpt2", "gpt_neox", "gemma2", "testbed"])
def pair(request: pytest.FixtureRequest) -> tuple:
    model = load("testbed") if request.param == "testbed" else make_model(request.param)
    return model, traced(model)


def test_capture_reads_the_same_at_every_site(pair):
    model, under = pair
    same(capture(model, PROMPTS, SITES, POSITIONS), capture(under, PROMPTS, SITES, POSITIONS))
    assert under.fingerprint == model.fingerprint


def test_an_edit_at_any_site_does_the_same(pair):
    model, under = pair
    for site in ("embed", "resid.0", "attn.1", "mlp.0", "head.1.2"):
        push = {site: lambda hidden, at: hidden * 1.5 + at.clamp_min(0)[..., None] / 10}
        with edit(model, push), edit(under, push):
            same(capture(model, PROMPTS, "resid.*", POSITIONS), capture(under, PROMPTS, "resid.*", POSITIONS))
            mine, theirs = (one.generate(PROMPTS, max_new_tokens=6) for one in (model, under))
        assert [g.tokens for g in mine] == [g.tokens for g in theirs]
        torch.testing.assert_close(
            torch.tensor([p for g in mine for p in g.logprobs]), torch.tensor([p for g in theirs for p in g.logprobs])
        )


def test_steering_at_the_prompts_end_does_the_same_and_is_over_afterwards(pair):
    model, under = pair
    plain = under.generate(PROMPTS, max_new_tokens=6)
    vector = SteeringVector.fit(under, [(PROMPTS[0], PROMPTS[1]), (PROMPTS[2], PROMPTS[3])], sites="resid.1")
    with vector.apply(model, strength=8.0), vector.apply(under, strength=8.0):
        mine, theirs = (one.generate(PROMPTS, max_new_tokens=6) for one in (model, under))
    assert [g.text for g in mine] == [g.text for g in theirs]
    assert [g.logprobs for g in theirs] != [g.logprobs for g in plain]
    assert under.generate(PROMPTS, max_new_tokens=6) == plain
    hooks = ("_forward_hooks", "_forward_pre_hooks")
    assert not any(getattr(module, kind) for module in model.hf.modules() for kind in hooks)


def test_transformers_own_generate_is_traced_too(pair):
    model, under = pair
    ids = torch.tensor([model.tokenizer(PROMPTS[0]).input_ids])
    push = {"resid.0": lambda hidden, at: hidden * 1.5}
    with edit(model, push), edit(under, push):
        mine, theirs = (one.hf.generate(ids, max_new_tokens=5, do_sample=False) for one in (model, under))
    assert torch.equal(mine, theirs)


def test_a_wrong_edit_says_so_and_leaves_nothing_behind(tiny):
    under = traced(tiny)
    with (
        pytest.raises(InputError, match=r"the edit at resid.0 returned shape .*; it must return"),
        edit(under, {"resid.0": lambda hidden, at: hidden[:1, :1]}),
    ):
        capture(under, PROMPTS, "resid.1", "last")
    same(capture(tiny, PROMPTS, "resid.1", "last"), capture(under, PROMPTS, "resid.1", "last"))


@pytest.fixture(params=["llama", "gpt2"])
def away(request: pytest.FixtureRequest, tmp_path) -> tuple:
    """A model and itself as if it were on NDIF: only its configuration is read; traces are packed and unpacked."""
    model = make_model(request.param)
    model.hf.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    return model, remote_model(str(tmp_path), remote="local")


def test_a_remote_trace_brings_back_the_same(away):
    model, far = away
    assert all(p.is_meta for p in far.hf.parameters())
    same(capture(model, PROMPTS, SITES, POSITIONS), capture(far, PROMPTS, SITES, POSITIONS))
    mine, theirs = (one.score(PROMPTS, [" a", " b", " c", " d"]) for one in (model, far))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.tokens, b.tokens)


def test_edits_and_steering_travel_with_a_remote_trace(away):
    model, far = away
    direction = torch.linspace(-1, 1, 32)
    push = {"mlp.0": lambda hidden, at: hidden + direction * at.clamp_min(0)[..., None]}
    vector = SteeringVector.fit(model, [(PROMPTS[0], PROMPTS[1]), (PROMPTS[2], PROMPTS[3])], sites="resid.0")
    plain = capture(model, PROMPTS, "resid.*", "all")
    with edit(model, push), edit(far, push), vector.apply(model, strength=4.0), vector.apply(far, strength=4.0):
        mine, theirs = (capture(one, PROMPTS, "resid.*", "all") for one in (model, far))
    same(mine, theirs)
    assert not close(plain["resid.1", "all"], mine["resid.1", "all"])


def test_what_cannot_travel_is_refused_with_the_remedy(away):
    model, far = away
    with pytest.raises(InputError, match="a remote model does not generate"):
        far.generate(PROMPTS, max_new_tokens=2)
    vector = SteeringVector.fit(model, [(PROMPTS[0], PROMPTS[1])], sites="resid.0")
    gated = vector.apply(far, when=lambda hidden: hidden[:, 0], threshold=0.0)
    with pytest.raises(InputError, match="a gate does not travel"), gated:
        capture(far, PROMPTS, "resid.1", "last")


def test_what_is_sent_to_ndif_names_the_model_and_carries_the_edit_but_no_weights(away, monkeypatch):
    from nnsight.intervention.backends.remote import RemoteBackend
    from nnsight.modeling import huggingface
    from nnsight.schema.request import RequestModel

    model, far = away
    sent = []

    def answer(self, request, tracer):
        """Stand in for the network: keep the request, and run the trace here as nnsight's dry run does."""
        sent.append((self.host, request.model_key, RequestModel.serialize(tracer, compress=False)))
        LocalSimulationBackend(far.envoy)(tracer)

    monkeypatch.setattr(RemoteBackend, "request", answer)
    monkeypatch.setitem(huggingface._ID_CACHE, far.envoy.repo_id, "someone/large-model")
    far.arch.base.remote = True
    weights = model.hf.get_input_embeddings().weight.detach().numpy().tobytes()
    with edit(far, {"resid.0": lambda hidden, at: hidden + 12345.5}):
        got = capture(far, PROMPTS[:1], "resid.1", "last")
    with edit(model, {"resid.0": lambda hidden, at: hidden + 12345.5}):
        same(capture(model, PROMPTS[:1], "resid.1", "last"), got)
    ((host, key, payload),) = sent
    assert host.startswith("https://")
    assert "someone/large-model" in key
    assert b"12345.5" in payload
    assert weights[:64] not in payload


def test_load_takes_the_backend_by_name(tiny_folder, tiny):
    under = load(tiny_folder, backend="nnsight")
    assert isinstance(under, TracedModel)
    same(capture(tiny, PROMPTS, "resid.*", "last"), capture(under, PROMPTS, "resid.*", "last"))
    with pytest.raises(InputError, match="unknown backend 'jax'; use one of nnsight, torch"):
        load(tiny_folder, backend="jax")
    with pytest.raises(EnvironmentProblem, match="could not be had from the hub"):
        load("nobody/no-such-model", remote=True)
    with pytest.raises(InputError, match="remote=True runs where the model is; leave out dtype"):
        load("nobody/no-such-model", remote=True, dtype="bfloat16")
