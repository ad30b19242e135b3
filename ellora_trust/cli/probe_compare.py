"""`ellora-trust probe transfer`, `readouts`, `rate`: other data, readouts, targets, from a run folder's answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ellora_trust.cli import probe_options as options

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ellora_trust.labeling import Labelled
    from probes.measuring.transfer import Transfer


def transfer(
    task: options.Tasks = None,
    by: Annotated[str | None, typer.Option(help="Leave out one value of this meta key at a time, in one task.")] = None,
    out: options.Out = Path("runs/probe"),
    json: options.Json = False,
) -> None:
    """Train on one task, test on another; or leave out one template, language or pattern at a time with --by."""
    from ellora_trust.cli.render import print_json, print_table
    from ellora_trust.errors import InputError
    from ellora_trust.report import write_json
    from probes.measuring.transfer import transfer_matrix
    from probes.reporting.transfer_plots import plot_transfer

    sets = _labelled(out, task)
    if by is not None:
        if len(sets) != 1:
            raise InputError(f"--by {by} needs one task; this folder has {', '.join(sets)}: choose one with --task")
        _left_out(next(iter(sets.values())), by, out, json)
        return
    found = transfer_matrix(sets)
    write_json(found.to_dict(), out / "transfer.json")
    _draw(plot_transfer, found, out / "transfer.png")
    if json:
        print_json(found.to_dict())
        return
    print_table("", ("trained on", *found.tested), [[row, *_cells(found, row)] for row in found.trained])
    print(f"AUROC [95 % interval, bootstrap over the test set's groups]; figure: {out}/transfer.png")


def _left_out(labelled: Labelled, key: str, out: Path, json: bool) -> None:
    from ellora_trust.cli.render import print_json, print_table
    from ellora_trust.report import write_json
    from probes.measuring.leave_one_out import COLUMNS, leave_one_out
    from probes.reporting.transfer_plots import plot_left_out

    found = leave_one_out(labelled, key)
    path = out / f"transfer-{labelled.name}-{key}"
    write_json(found.to_dict(), path.with_suffix(".json"))
    _draw(plot_left_out, found, path.with_suffix(".png"))
    if json:
        print_json(found.to_dict())
        return
    print_table(f"{labelled.name}: AUROC by {key}", COLUMNS, found.table())
    print(f"{found.sentence()} Intervals: bootstrap over groups; figure: {path}.png")


def readouts(task: options.Tasks = None, out: options.Out = Path("runs/probe"), json: options.Json = False) -> None:
    """Compare the one-layer probe with mass-mean, all dimensions, and a sparse combination over layers."""
    from ellora_trust.cli.render import print_json, print_table, say
    from ellora_trust.report import write_json
    from probes.fitting.targets import evaluate_kinds
    from probes.measuring.comparison import compare_readouts

    found = {}
    for name, labelled in _labelled(out, task).items():
        say(f"{name}: fitting readouts")
        compared, kinds = compare_readouts(labelled), evaluate_kinds(labelled)
        found[name] = {"readouts": compared.to_dict(), "kinds": kinds.to_dict()}
        if not json:
            columns = ("readout", "AUROC [95 % interval]", "difference to one layer")
            print_table(name, columns, compared.table())
            rows = [[kind, str(score.auroc)] for kind, score in kinds.found.items()]
            print_table(f"{name}, by kind of error", ("outcome", "AUROC against the rest"), rows)
    write_json(found, out / "readouts.json")
    if json:
        print_json(found)


def rate(task: options.Tasks = None, out: options.Out = Path("runs/probe"), json: options.Json = False) -> None:
    """Predict the share of wrong samples of each question, from a folder labelled with --samples above 1."""
    from ellora_trust.cli.render import print_json, print_table
    from ellora_trust.report import write_json
    from probes.fitting.success_rate import evaluate_rate
    from probes.steps.sampling import questions

    found = {}
    for name, labelled in _labelled(out, task).items():
        score = evaluate_rate(labelled, questions(labelled))
        found[name] = score.to_dict()
        if not json:
            print_table(f"{name}: {len(score.rate)} questions", ("figure", "probe", "baseline"), score.table())
    write_json(found, out / "rate.json")
    if json:
        print_json(found)


def _labelled(out: Path, tasks: list[str] | None) -> dict[str, Labelled]:
    from probes.steps.run_folder import RunFolder

    folder = RunFolder(out)
    return {name: folder.read_labels(name, activations=True) for name in tasks or folder.run().tasks}


def _cells(found: Transfer, row: str) -> list[str]:
    cells = {cell.test: cell for cell in found.cells if cell.train == row}
    return [str(cells[name].auroc or cells[name].note) if name in cells else "" for name in found.tested]


def _draw(plot: Callable[[Any], Axes], found: object, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    figure = plot(found).get_figure(root=True)
    assert figure is not None, "the axes were drawn in one"
    figure.savefig(path, dpi=120, bbox_inches="tight")
