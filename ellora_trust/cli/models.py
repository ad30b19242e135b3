"""`ellora-trust models`: what is built in, and whether a model's sites are what they are called."""

from __future__ import annotations

from typing import Annotated

import typer

from ellora_trust.cli.probe_options import Device, Dtype

app = typer.Typer(help="List built-in models; check any model.", invoke_without_command=True)


@app.callback()
def models(context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the built-in models; any hub id, folder or .gguf file works beside them."""
    if context.invoked_subcommand:
        return
    from ellora_trust.builtin import BUILTIN
    from ellora_trust.cli.render import print_json, print_table

    rows = [[name, model.about, model.command] for name, model in BUILTIN.items()]
    if json:
        print_json([dict(zip(("name", "about", "install"), row, strict=True)) for row in rows])
        return
    print_table("", ("name", "what", "install"), rows)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Built-in name, hub id, folder or .gguf file.")],
    dtype: Dtype = None,
    device: Device = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Edit every site of a model on a tiny forward: nothing must change nothing, something must change something."""
    from ellora_trust.cli.render import print_json, print_table
    from ellora_trust.loading import load
    from ellora_trust.prompts import fim_format
    from ellora_trust.sites import resolve
    from ellora_trust.validation import check_sites

    model = load(name, dtype=dtype, device=device)
    kinds = ["embed", "resid.*", "attn.*", "mlp.*"]
    kinds += ["head.*.*"] if any(block.attn_out is not None for block in model.arch.blocks) else []
    checks = [found for kind in kinds for found in check_sites(model, resolve(model, kind))]
    fim = fim_format(model.tokenizer)
    if json:
        rows = [{"site": str(c.site), "zero_is_exact": c.zero_is_exact, "change": c.change, "ok": c.ok} for c in checks]
        print_json({"model": repr(model), "fim": fim.family if fim else None, "sites": rows})
    else:
        print(f"{model!r}; fill-in-the-middle: {fim.family if fim else 'none'}")
        rows = [_summary(kind, [c for c in checks if c.site.kind == kind]) for kind in _kinds(checks)]
        print_table("", ("sites", "checked", "zero edit exact", "edit moves logits", "smallest change (logits)"), rows)
    if not all(found.ok for found in checks):
        raise typer.Exit(1)


def _kinds(checks: list) -> list[str]:
    return list(dict.fromkeys(check.site.kind for check in checks))


def _summary(kind: str, checks: list) -> list[str]:
    exact, moved = sum(c.zero_is_exact for c in checks), sum(c.change > 0 for c in checks)
    n = len(checks)
    return [kind, str(n), f"{exact} of {n}", f"{moved} of {n}", f"{min(c.change for c in checks):.3g}"]
