"""`ellora-trust serve`: an OpenAI-compatible endpoint whose answers carry their risk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ellora_trust.cli.predictor import DEFAULT
from ellora_trust.cli.probe_options import Device, Dtype

if TYPE_CHECKING:
    from ellora_trust.serving.generation import Guarded
    from ellora_trust.serving.jobs import Defaults


def serve(
    probe: Annotated[Path, typer.Option(help="Folder of a fitted error predictor.")] = DEFAULT,
    model: Annotated[
        str | None,
        typer.Option(help="Built-in name, hub id, folder or .gguf; the one the predictor was fitted on, if left out."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What clients call the model.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; give others than loopback an API key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any that is free.")] = 8000,
    policy: Annotated[str, typer.Option(help="flag, abstain or resample.")] = "flag",
    threshold: Annotated[float | None, typer.Option(help="Risk from which an answer is flagged, 0..1.")] = None,
    readout: Annotated[str, typer.Option(help="position or running_max.")] = "position",
    samples: Annotated[int, typer.Option(help="Draws at most, with --policy resample.")] = 4,
    fixed: Annotated[bool, typer.Option("--fixed-policy", help="Requests may not change the policy.")] = False,
    temperature: Annotated[float, typer.Option(help="Where a request does not say; 0 is greedy.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(help="Tokens of an answer at most.")] = 1024,
    max_body: Annotated[int, typer.Option(help="Bytes of a request at most.")] = 2**20,
    concurrent: Annotated[int, typer.Option(help="Open requests at most.")] = 64,
    queue: Annotated[int, typer.Option(help="Requests that may wait for the model.")] = 16,
    api_key_file: Annotated[Path | None, typer.Option(help="File with the key; else $ELLORA_TRUST_API_KEY.")] = None,
    dtype: Dtype = None,
    device: Device = None,
    force: Annotated[bool, typer.Option("--force", help="Use the predictor on another model all the same.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print address, model and policy as JSON first.")] = False,
) -> None:
    """Serve a model under watch: /v1/chat/completions, /v1/completions, /v1/models, /health; each choice has a risk."""
    from ellora_trust.serving.access import Access, is_loopback, read_key
    from ellora_trust.serving.extra import require_extra
    from ellora_trust.serving.jobs import Defaults
    from ellora_trust.serving.limits import Limits

    require_extra()
    from ellora_trust.serving.app import build_app
    from ellora_trust.serving.running import listening
    from ellora_trust.serving.running import serve as run

    limits = Limits(body_bytes=max_body, max_tokens=max_tokens, concurrent=concurrent, queue=queue)
    defaults = Defaults(
        name=name,
        policy=policy,
        threshold=threshold,
        readout=readout,
        samples=samples,
        temperature=temperature,
        override=not fixed,
        force=force,
    )
    access = Access(read_key(api_key_file), is_loopback(host))
    with listening(host, port) as bound:
        guarded = _guarded(model, probe, defaults, dtype=dtype, device=device)
        _greet(guarded, access, bound, json=json)
        run(build_app(guarded, limits, access=access), bound)


def _guarded(model: str | None, folder: Path, defaults: Defaults, *, dtype: str | None, device: str | None) -> Guarded:
    from dataclasses import replace

    from ellora_trust.cli.predictor import read_predictor
    from ellora_trust.loading import load
    from ellora_trust.serving.generation import Guarded

    probe = read_predictor(folder)
    source = model or probe.artifact_.model["name"]
    # A folder's path is nobody's business but this machine's.
    name = defaults.name or (Path(source).name if Path(source).exists() else source)
    return Guarded(load(source, dtype=dtype, device=device), probe, replace(defaults, name=name))


def _greet(guarded: Guarded, access: object, bound: object, *, json: bool) -> None:
    import socket
    import sys

    from ellora_trust.cli.render import print_json, say
    from ellora_trust.serving.access import VARIABLE, Access
    from ellora_trust.serving.running import address

    assert isinstance(access, Access)
    assert isinstance(bound, socket.socket)
    if not access.local and access.key is None:
        say(f"WARNING: everybody who reaches this address may use the model; give --api-key-file or ${VARIABLE}")
    policy, threshold = guarded.defaults.policy, guarded.threshold
    if json:
        print_json({"base_url": address(bound), "model": guarded.name, "policy": policy, "threshold": threshold})
        sys.stdout.flush()
    else:
        say(f"{guarded.name} at {address(bound)}, policy {policy}, threshold {threshold:.2f}; stop with Ctrl-C")
