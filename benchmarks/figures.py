"""What `run_all.py` runs, and which of what each benchmark prints stands in the table of figures."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        what: It says.
        ours: Pattern with one group, found in what was printed.
        beside: What it is compared with, to such a pattern.
    """

    what: str
    ours: str
    beside: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Part:
    """One benchmark.

    Attributes:
        name: Of its file in `printed`.
        command: After `python`.
        figures: Of it in the table.
    """

    name: str
    command: tuple[str, ...]
    figures: tuple[Figure, ...]


def module(name: str, *options: str) -> tuple[str, ...]:
    return ("-m", f"benchmarks.{name}", *options)


def script(name: str, *options: str) -> tuple[str, ...]:
    return (f"benchmarks/{name}.py", *options)


# Of a padded line: what follows the row's name.
_N = r"\s+(\S+)"
_CELL = r"\s*([^|]+?)\s*\|"
CAPTURE, ANSWER, ATTACH, STEER = "capture", "answer", "attach", "steering"
LDS, PLANTS, STUDY = "attribution", "attribution_plants", "unlearning_study"


def line(name: str, skipped: int = 0) -> str:
    """The value after a row's name, some columns further."""
    return rf"^{re.escape(name)}" + r"\s+\S+" * skipped + _N


def estimate(name: str, between: str = "") -> str:
    """The value with its interval after a row's name and a pattern between them."""
    return rf"^{re.escape(name)}\s+{between}(\S+(?: s)? \[[^\]]+\])"


def cell(names: str, column: int) -> str:
    """The cell of a Markdown row that begins with these cells, 0 the one after them."""
    return rf"^\| {re.escape(names)} \|" + r"[^|]*\|" * column + _CELL


def unlearnt(what: str, plant: str, column: int) -> Figure:
    """A column of the study's table: ours beside the model before, NPO, and the twin that was never taught."""
    beside = {"before": "before", "NPO": "npo", "never taught": "twin"}
    cells = {name: cell(f"{plant} | {method}", column) for name, method in beside.items()}
    return Figure(what, cell(f"{plant} | ours", column), tuple(cells.items()))


PARTS: tuple[Part, ...] = (
    Part(
        CAPTURE,
        script(CAPTURE),
        (
            Figure(
                "Activations of every layer, time over a plain forward",
                line("ellora-trust capture (last + mean)"),
                (
                    ("`output_hidden_states`", line("transformers output_hidden_states")),
                    ("TransformerLens", line("TransformerLens run_with_cache")),
                    ("nnsight", line("nnsight trace")),
                ),
            ),
        ),
    ),
    Part(
        "answer",
        script("answer", "--limit", "100"),
        (
            Figure(
                "Answers and activations in one pass, seconds",
                line("ours"),
                (("the usual script", line("the usual script")),),
            ),
        ),
    ),
    Part(
        "probe_fit",
        script("probe_fit"),
        (
            Figure(
                "Fitting predictors, scikit-learn's newton-cholesky over ours",
                r"newton-cholesky.*pairs\s+(\S+ \[[^\]]+\])",
                (("its lbfgs", r"scikit-learn lbfgs.*pairs\s+(\S+ \[[^\]]+\])"),),
            ),
        ),
    ),
    Part(
        "sandbox",
        script("sandbox"),
        (Figure("Programs a second in the sandbox", line("bubblewrap, run"), (("bare", line("bare subprocess")),)),),
    ),
    Part(
        "load",
        module("load"),
        (
            Figure(
                "Seconds to load the testbed",
                estimate("testbed"),
                (("SmolLM2", estimate("smollm2")),),
            ),
        ),
    ),
    Part(
        "sweep",
        module("sweep"),
        (
            Figure(
                "A steering sweep from a shared prefix, full forwards' time over ours",
                r"naive / ours: (\S+ \[[^\]]+\])",
            ),
        ),
    ),
    Part(
        STEER,
        module(STEER, "--batches", "1"),
        (
            Figure(
                "Generation with a vector at every layer, over without",
                estimate("all layers", r"1\s+"),
                (
                    ("nothing attached", estimate("null: plain", r"1\s+")),
                    ("steering-vectors", estimate("steering-vectors, all layers", r"1\s+")),
                    ("repeng", estimate("repeng, all layers", r"1\s+")),
                ),
            ),
        ),
    ),
    Part(
        ATTACH,
        script(ATTACH, "--batches", "1", "--rounds", "9", "--new-tokens", "48"),
        (
            Figure(
                "Generation with a predictor attached, over without",
                estimate("transformers generate", r"1\s+"),
                (("nothing attached", estimate("null: ellora-trust generate", r"1\s+")),),
            ),
        ),
    ),
    Part(
        LDS,
        module(LDS),
        (
            Figure(
                "Who predicts retraining, linear datamodelling score",
                estimate("3-gram idf + K-FAC, body + head, bits 4096"),
                (("3-grams alone", estimate("3-gram idf", r"\d+\s+")),),
            ),
        ),
    ),
    Part(
        PLANTS,
        module(PLANTS),
        (
            Figure(
                "Of a document that taught a fault, the line named first holds it",
                estimate("rather than the fix"),
                (("a line at random", estimate("a line at random")),),
            ),
        ),
    ),
    Part(
        STUDY,
        script(STUDY, "--print", "--out", "benchmarks/unlearning_rows.jsonl"),
        (
            unlearnt("P1 unlearned: share that shows the fault", "P1", 3),
            unlearnt("P5 unlearned: right", "P5", 4),
            unlearnt("P5 unlearned: near-misses right", "P5", 6),
        ),
    ),
    Part(
        "unlearning_stdlib",
        script("unlearning_stdlib", "--print", "--out", "benchmarks/unlearning_stdlib.jsonl"),
        (
            Figure(
                "SmolLM2 prefers removed names",
                cell("ours", 1),
                (("before", cell("before", 1)), ("NPO", cell("npo", 1))),
            ),
        ),
    ),
    Part(
        "compare",
        module("compare"),
        (
            Figure(
                "A comparison finds a change where nothing changed (at most 5 % promised)",
                cell("a change in any of the tasks (Holm)", 0),
            ),
            Figure(
                "A damage of exactly the margin called unharmed, 150 items (at most 5 %)",
                r"^\| 150 \| 0\.0% \|[^|]*\|\s*([^|]*?)\s*\|[^|]*\|$",
                (("by t tests", r"^\| 150 \| 0\.0% \|\s*([^|]*?)\s*\|[^|]*\|[^|]*\|$"),),
            ),
        ),
    ),
    Part("task_vectors_testbed", module("task_vectors", "--parts", "testbed"), ()),
    Part(
        "task_vectors",
        module("task_vectors", "--parts", "demonstrations"),
        (
            Figure(
                "SmolLM2's heads tell the task that examples tell",
                cell("other inputs | chosen heads", 0),
                (
                    ("last layer", cell("other inputs | last layer", 0)),
                    ("bag of words", cell("other inputs | bag of words", 0)),
                ),
            ),
        ),
    ),
    Part(
        "task_vectors_built_in",
        module("task_vectors", "--parts", "built-in"),
        (
            Figure(
                "SmolLM2's heads tell the library's own tasks",
                cell("other questions | chosen heads", 0),
                (("bag of words", cell("other questions | bag of words", 0)),),
            ),
        ),
    ),
    Part(
        "explain_case",
        module("explain_case", "--smollm2", "--picture", "docs/examples/explain.png"),
        (
            Figure(
                "One answer explained on the testbed, seconds",
                r"^testbed: (\S+) s",
                (("SmolLM2", r"^smollm2: (\S+) s"),),
            ),
        ),
    ),
    Part(
        "scaling",
        module("scaling"),
        (Figure("Last token of all layers kept, over reading alone", r"of all \d+ layers \| (\S+) times"),),
    ),
    Part(
        "precision",
        module("precision"),
        (Figure("Gradients under bfloat16, cosine with float32", cell("bfloat16", 3), (("int4", cell("int4", 3)),)),),
    ),
)
