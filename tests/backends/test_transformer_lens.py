"""The bridge reads what `capture` reads, from the same tensors, and leaves the model as it was."""

from __future__ import annotations

import pytest
import torch
from tiny_models import make_model

from ellora_trust.backends.transformer_lens import lens_name, open_bridge, site_name
from ellora_trust.errors import InputError
from ellora_trust.hooks import capture
from ellora_trust.loading import load
from ellora_trust.sites import resolve

TEXT = "def add(a, b):\n    return a"
SITES = ("embed", "resid.*", "attn.*", "mlp.*", "head.*.*")


@pytest.mark.parametrize("name", ["tiny", "testbed"])
def test_every_site_is_what_capture_reads_and_the_model_stays_as_it_was(name, tmp_path):
    if name == "tiny":
        made = make_model("llama")
        made.hf.save_pretrained(tmp_path)
        made.tokenizer.save_pretrained(tmp_path)
        name = str(tmp_path)
    model = load(name)
    before = {key: (tensor.data_ptr(), tensor.clone()) for key, tensor in model.hf.state_dict().items()}
    sites = [str(site) for site in resolve(model, SITES)]
    plain = capture(model, [TEXT], sites, "all")
    bridge = open_bridge(model)
    ids = torch.tensor([model.tokenizer(TEXT).input_ids])
    with torch.no_grad():
        logits, cache = bridge.run_with_cache(ids)
        expected = model.hf(input_ids=ids).logits
    torch.testing.assert_close(logits, expected, atol=2e-4, rtol=0)
    for site in sites:
        seen, mine = cache[lens_name(site)][0], plain[site, "all"][0]
        if site.startswith("head"):
            seen = seen[:, int(site.split(".")[2])]
        assert float((seen - mine).norm(dim=-1).max()) <= 1e-5 * float(mine.norm(dim=-1).max()) + 1e-6, site
    pointers = {tensor.data_ptr() for tensor in bridge.parameters()}
    assert {tensor.data_ptr() for tensor in model.hf.parameters()} <= pointers
    after = model.hf.state_dict()
    assert list(after) == list(before)
    assert all(after[k].data_ptr() == at and torch.equal(after[k], value) for k, (at, value) in before.items())


def test_names_go_both_ways():
    for site in ("embed", "resid.3", "attn.0", "mlp.11"):
        assert site_name(lens_name(site)) == site
    assert site_name(lens_name("head.2.5"), head=5) == "head.2.5"
    with pytest.raises(InputError, match="has no hook"):
        lens_name("norm.1")
    with pytest.raises(InputError, match="is no site"):
        site_name("blocks.0.hook_resid_mid")
    with pytest.raises(InputError, match="the last with a head"):
        site_name("blocks.0.attn.hook_z")
