"""A model under nnsight: the same `capture`, `edit` and steering, here or on NDIF, where a larger model lives.

    model = load("smollm2", backend="nnsight")              # every forward is an nnsight trace
    model = load("meta-llama/Llama-3.1-70B", remote=True)   # ... that runs on NDIF; only the config comes here
    capture(model, prompts, "resid.*", "last")

Nothing else changes: the library registers its hooks on places that stand for the model's modules, and a traced forward
takes what flows through the modules to the hooks of their places. In a remote trace the hooks that change an activation
travel with it, by value; those that only read run here, on activations that came back.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn
from transformers.modeling_outputs import CausalLMOutputWithPast

from ellora_trust.architecture import Architecture, Block, discover
from ellora_trust.backends.around import modules_around
from ellora_trust.backends.skeleton import Order, discover_unloaded, execution_order, paths
from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.model import CodeModel

# True sends a trace to NDIF; "local" packs and unpacks it as if, and runs it here: nnsight's own dry run.
Remote = bool | Literal["local"]
# Packages that travel with a remote trace where its hooks need them: NDIF does not have them.
OURS = ("ellora_trust", "steering", "probes")
Hook = Callable[..., Any]
# Path, "input" or "output", and the hooks there; None stands for one that only reads, and runs here afterwards.
Step = tuple[str, str, list[Hook | None]]


class Place(nn.Module):
    """Stands for one module of the model: hooks registered on it are called by a traced forward."""

    def __reduce__(self) -> Any:
        return Place, ()  # where one of its hooks travels, the others stay

    def hooks(self, when: str) -> list[Hook]:
        """Return the hooks on its input or its output, in the order of registration."""
        return list((self._forward_pre_hooks if when == "input" else self._forward_hooks).values())


class TracedDecoder(Place):
    """Every call is one nnsight trace.

    Args:
        envoy: nnsight's view of the model.
        places: By path of the module they stand for.
        order: In which a forward reaches them: nnsight has to be asked in that order.
        remote: Where the trace runs.
        keep_logits: Whether logits come back.
    """

    def __init__(self, envoy: Any, places: dict[str, Place], order: Order, *, remote: Remote):
        super().__init__()
        self._envoy, self._places, self._order = _Hidden(envoy), places, order
        self.remote: Remote = remote
        # The library reads from the signature which arguments a family takes.
        self.forward = _as(type(envoy._module).forward, self._decode)

    def _decode(self, *, keep_logits: bool = False, **given: Any) -> CausalLMOutputWithPast:
        if self.remote and (given.get("use_cache") or given.get("past_key_values") is not None):
            raise InputError(
                "keys and values do not travel between here and NDIF, so a remote model does not generate; use capture "
                "and score, or load the model without remote=True"
            )
        steps: list[Step] = []
        readers: list[tuple[Hook, str]] = []
        for path, when in self._order:
            hooks = self._places[path].hooks(when)
            kept = [None if self.remote and getattr(hook, "reads", False) else hook for hook in hooks]
            readers += [(hook, when) for hook, sent in zip(hooks, kept, strict=True) if sent is None]
            if hooks:
                steps.append((path, when, kept))
        found = _run(self._envoy.it, {k: v for k, v in given.items() if v is not None}, steps, keep_logits, self.remote)
        for (hook, when), hidden in zip(readers, found["seen"], strict=True):
            hook(None, (hidden,), {}) if when == "input" else hook(None, (), hidden)
        return CausalLMOutputWithPast(logits=found["logits"], past_key_values=found["cache"])


def _as(original: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with the signature of another."""

    @functools.wraps(original)
    def forward(**given: Any) -> Any:
        return function(**given)

    return forward


class _Hidden:
    """Keeps a module from becoming a submodule."""

    def __init__(self, it: Any):
        self.it = it


def _run(envoy: Any, given: dict[str, Any], steps: list[Step], keep_logits: bool, remote: Remote) -> dict[str, Any]:
    """Trace one forward; nnsight reads the source of the `with`, and sends it away where it is remote."""
    if remote:
        _register_ours()
    found: Any = None
    with envoy.trace(**given, remote=remote):
        found = {"seen": [], "logits": None, "cache": None}.save()  # pyright: ignore[reportAttributeAccessIssue]
        for path, when, hooks in steps:
            module = envoy.get(path)
            args, kwargs = module.inputs if when == "input" else ((), {})
            output = module.output if when == "output" else None
            for hook in hooks:
                if hook is None:
                    hidden = output if when == "output" else (args[0] if args else kwargs["hidden_states"])
                    found["seen"].append(hidden[0] if isinstance(hidden, tuple) else hidden)
                    continue
                new = hook(None, args, output if when == "output" else kwargs)
                if new is not None and when == "input":
                    args, kwargs = new
                    module.inputs = new
                elif new is not None:
                    output = new
                    module.output = new
        result = envoy.output
        found["logits"] = result.logits if keep_logits else None
        found["cache"] = result.past_key_values if given.get("use_cache") else None
    return found


def _register_ours() -> None:
    from nnsight.ndif import register

    for package in OURS:
        register(package)


@dataclass
class TracedModel(CodeModel):
    """A `CodeModel` whose forwards are nnsight traces; use `traced` or `remote_model`.

    Attributes:
        envoy: nnsight's own view, for whatever this library does not offer.
        remote: Where its forwards run.
    """

    envoy: Any = None
    remote: Remote = False
    identity: str = ""

    def __post_init__(self) -> None:
        """Nothing is proved here: `traced` and `remote_model` set the parts of a model that was."""

    def __reduce__(self) -> Any:
        return _nothing, ()  # an edit that travels leaves the model here

    @property
    def device(self) -> torch.device:
        return torch.device("cpu") if self.remote else self.hf.device

    @property
    def fingerprint(self) -> str:
        """As of any model; of a remote one, sha256 over name, revision and config, for its weights are not here."""
        return self.identity or super().fingerprint

    def shares_prefixes(self, n_tokens: int) -> bool:
        """Not where keys and values would have to travel."""
        return not self.remote and super().shares_prefixes(n_tokens)


def _nothing() -> None:
    return None


def traced(model: CodeModel) -> TracedModel:
    """Return the model under nnsight, with the same weights.

    nnsight puts its own forward in every module, so it gets a copy of the modules around the weights.
    """
    from nnsight import TransformersModel

    modules = modules_around(model)
    arch = discover(modules)
    order = execution_order(modules, arch)
    envoy = TransformersModel(modules, tokenizer=model.tokenizer, task="text-generation")
    made = TracedModel(model.name, modules, model.tokenizer, model.source, model.token_budget, envoy=envoy)
    made._loaded_state = model._loaded_state
    return _placed(made, arch, order)


def remote_model(name: str, *, revision: str | None = None, remote: Remote = True) -> TracedModel:
    """Return a model that stays on NDIF; its configuration and tokenizer come from the hub.

    Args:
        name: Hub id of a model that NDIF serves.
        revision: Branch, tag or commit.
        remote: "local" packs every trace as if it were sent, and runs it here.

    Raises:
        InputError: An architecture whose sites cannot be named without the weights.
        EnvironmentProblem: The hub cannot be reached.
    """
    from nnsight import TransformersModel
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, revision=revision)
        envoy = TransformersModel(name, revision=revision, tokenizer=tokenizer, task="text-generation")
    except (OSError, ValueError, KeyError) as error:
        raise EnvironmentProblem(
            f"the configuration of {name!r} could not be had from the hub ({error}); check the name and the network"
        ) from error
    meta: Any = envoy._module
    told = {"name": name, "revision": revision, "config": meta.config.to_dict()}
    identity = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
    made = TracedModel(name, meta, tokenizer, envoy=envoy, remote=remote, identity=identity)
    return _placed(made, *discover_unloaded(meta))


def _placed(made: TracedModel, arch: Architecture, order: Order) -> TracedModel:
    """Put places where the modules are, and a traced forward in place of the model's own."""
    names, places = paths(made.hf), {path: Place() for path, _ in order}

    def block(one: Block) -> Block:
        attn, mlp = (replace(part, module=places[names[part.module]]) for part in (one.attn, one.mlp))
        out = None if one.attn_out is None else places[names[one.attn_out]]
        return replace(one, module=places[names[one.module]], attn=attn, mlp=mlp, attn_out=out)

    decoder = TracedDecoder(made.envoy, places, order, remote=made.remote)
    made.arch = replace(arch, base=decoder, blocks=tuple(block(one) for one in arch.blocks))
    # A shallow copy shares weights and settings; nnsight goes on running the original.
    hf: Any = copy.copy(made.hf)
    hf.forward = _as(type(made.hf).forward, functools.partial(decoder, keep_logits=True))
    made.hf = hf
    return made
