"""Tiny models of many families, and the real default model where its wheel is installed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from ellora_trust.errors import EnvironmentProblem

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

if "PYTEST_XDIST_WORKER" in os.environ:
    import torch  # here and in fixtures alone: the process that only hands out tests needs none of it

    # One thread a worker: two workers of two threads on two cores wait for each other.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> CodeModel:
    from tiny_models import make_model

    return make_model("llama")


@pytest.fixture
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tiny: CodeModel):
    folder = tmp_path_factory.mktemp("model")
    tiny.hf.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    """Every test has its own cache folder, but the real model's conversion is shared."""
    if request.node.get_closest_marker("smollm2") is None:
        monkeypatch.setenv("ELLORA_TRUST_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def smollm2() -> CodeModel:
    from ellora_trust.loading import load

    try:
        return load("smollm2")
    except EnvironmentProblem as problem:
        pytest.fail(str(problem))
