"""llama.cpp's control-vector files: a steering vector out, and one in.

    write_control_vector(vector, Path("types.gguf"), model=model)
    vector = read_control_vector(Path("types.gguf"))

llama.cpp adds `direction.L` to the output of block L (0-based) at every token, and cannot steer block 0
(llama-adapter.cpp, `llama_adapter_cvec`). It knows no positions: what was fitted and judged at the prompt's end acts
everywhere there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ellora_trust.cachedir import replacing
from ellora_trust.errors import InputError
from ellora_trust.sites import Site
from steering.vector import SteeringVector

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

ARCHITECTURE = "controlvector"


def write_control_vector(vector: SteeringVector, path: Path, *, model: CodeModel) -> None:
    """Write the vector's chosen sites (all of them where none was chosen), times its strength.

    Args:
        vector: With directions in the residual stream of blocks 1 and up.
        path: The .gguf file.
        model: Whose family and number of layers are recorded.

    Raises:
        InputError: A site that the format has no place for.
        EnvironmentProblem: The file cannot be written.
    """
    from gguf import GGUFWriter

    sites = vector.sites or tuple(vector.directions)
    layers = {site: _layer(site) for site in sites}
    with replacing(path) as beside:
        writer = GGUFWriter(beside, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", str(model.hf.config.model_type))
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", model.arch.n_layers - 1)
        for site, layer in layers.items():
            scaled = vector.strength * vector.directions[site].float()
            writer.add_tensor(f"direction.{layer}", scaled.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _layer(site: str) -> int:
    kind, *numbers = site.split(".")
    if kind != "resid" or numbers == ["0"]:
        raise InputError(f"a control vector has no place for {site}; choose sites from resid.1 on")
    return int(numbers[0])


def read_control_vector(path: Path) -> SteeringVector:
    """Return the vector in a control-vector file; it acts at all positions, as llama.cpp applies it.

    Raises:
        InputError: No such file, or none of this format.
    """
    from gguf import GGUFReader

    if not path.is_file():
        raise InputError(f"there is no file {path}; give a .gguf file that holds a control vector")
    try:
        reader = GGUFReader(path)
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path} is not a GGUF file ({error}); give one that holds a control vector") from error
    field: Any = reader.get_field("general.architecture")
    if field is None or field.contents() != ARCHITECTURE:
        raise InputError(f"{path} holds no control vector; give a file that llama.cpp or ellora-trust wrote")
    found = {
        str(Site("resid", int(tensor.name.removeprefix("direction.")))): torch.tensor(tensor.data.copy())
        for tensor in reader.tensors
        if tensor.name.startswith("direction.")
    }
    ordered = {site: found[site] for site in sorted(found, key=_layer)}
    return SteeringVector(ordered, "control vector", "all", tuple(ordered))
