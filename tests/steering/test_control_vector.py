"""Control-vector files: written as llama.cpp reads them, checked with the gguf library."""

from __future__ import annotations

import pytest
import torch
from gguf import GGUFReader

from ellora_trust.errors import InputError
from ellora_trust.model import CodeModel
from steering import SteeringVector
from steering.control_vector import read_control_vector, write_control_vector


@pytest.fixture
def vector() -> SteeringVector:
    made = torch.Generator().manual_seed(0)
    return SteeringVector({f"resid.{layer}": torch.randn(32, generator=made) for layer in range(2)})


def test_file_has_the_layer_llama_cpp_expects(tiny: CodeModel, vector: SteeringVector, tmp_path):
    write_control_vector(vector.chosen(["resid.1"], 2.0), tmp_path / "v.gguf", model=tiny)
    reader = GGUFReader(tmp_path / "v.gguf")
    assert reader.get_field("general.architecture").contents() == "controlvector"
    assert reader.get_field("controlvector.model_hint").contents() == "llama"
    assert reader.get_field("controlvector.layer_count").contents() == 1
    (tensor,) = reader.tensors
    assert tensor.name == "direction.1"
    torch.testing.assert_close(torch.tensor(tensor.data), 2 * vector.directions["resid.1"])


def test_what_was_written_is_read_back(tiny: CodeModel, vector: SteeringVector, tmp_path):
    write_control_vector(vector.chosen(["resid.1"], 2.0), tmp_path / "v.gguf", model=tiny)
    again = read_control_vector(tmp_path / "v.gguf")
    assert again.sites == ("resid.1",)
    assert again.position == "all"
    torch.testing.assert_close(again.directions["resid.1"], 2 * vector.directions["resid.1"])
    with again.apply(tiny):
        steered = tiny.score(["def f(x):\n    return"], [" x"])[0].sum
    with vector.apply(tiny, sites="resid.1", strength=2.0, positions="all"):
        assert tiny.score(["def f(x):\n    return"], [" x"])[0].sum == steered


def test_first_block_has_no_place_in_the_format(tiny: CodeModel, vector: SteeringVector, tmp_path):
    with pytest.raises(InputError, match="no place for resid"):
        write_control_vector(vector, tmp_path / "v.gguf", model=tiny)
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_refused(tmp_path):
    (tmp_path / "no.gguf").write_bytes(b"nothing of the kind, and long enough to be read as a header")
    with pytest.raises(InputError, match="is not a GGUF file"):
        read_control_vector(tmp_path / "no.gguf")
    with pytest.raises(InputError, match="there is no file"):
        read_control_vector(tmp_path / "missing.gguf")
