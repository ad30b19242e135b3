"""Standard benchmarks beside a suite's own tasks: lm-evaluation-harness asks, and every item is paired like ours.

    harness = Harness(("mine",), include=Path("tasks"), limit=200)
    harness.read(model, ItemCache(state_of(model)))        # answers of each task, item by item
    harness.questions                                      # what was asked, known after the first reading

A task counts where it says right or wrong of each item (`acc`, `exact_match` and the like). Its YAML may hold Python
(`!function`), which runs as it is: include only folders that you trust. Needs the extra `lm-eval`.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ellora_trust.errors import EnvironmentProblem, InputError, closest
from ellora_trust.evaluation.asking.answers import Answer
from ellora_trust.evaluation.asking.cache import ItemCache
from ellora_trust.tasks.base import Example, Outcome

if TYPE_CHECKING:
    from ellora_trust.evaluation.asking.suite import Role
    from ellora_trust.model import CodeModel

# What an item is judged by, in this order; then any other metric that is 0 or 1 on every item.
METRICS = ("acc", "exact_match", "pass@1", "pass_at_1", "acc_norm")
_SEED = 1234  # of few-shot examples, the harness's own


@dataclass(frozen=True)
class HarnessQuestion:
    """A task of the harness as it was asked.

    Attributes:
        name: `lm-eval:TASK (METRIC)`.
        examples: Its items; a document's `group` or else its hash is the group.
        role: Nothing of it is meant to change.
    """

    name: str
    examples: list[Example]
    role: Role = "collateral"


class Harness:
    """Tasks of lm-evaluation-harness, loaded once for the base and all candidates.

    Args:
        tasks: Names, also of groups and tags.
        include: Folder with task files of your own.
        limit: Items of each task, its first ones.
        progress: Show progress bars.

    Raises:
        EnvironmentProblem: The harness is not installed, or a task's data would have to be downloaded and cannot be.
        InputError: An unknown task, or one whose file is wrong.
    """

    def __init__(
        self, tasks: Sequence[str], *, include: Path | None = None, limit: int | None = None, progress: bool = False
    ) -> None:
        if importlib.util.find_spec("lm_eval") is None:
            raise EnvironmentProblem(
                "lm-evaluation-harness is not installed; run: pip install 'ellora-trust[lm-eval]', or ask without it"
            )
        if include is not None and not include.is_dir():
            raise InputError(f"{include} is no folder; give one that holds the task's .yaml for --lm-eval-include")
        self._names, self._include, self._limit, self._progress = list(tasks), include, limit, progress
        self.questions: list[HarnessQuestion] = []
        # What each task was judged by in the first state, and so is in all others.
        self._metrics: dict[str, str] = {}

    def read(self, model: CodeModel, cache: ItemCache) -> list[list[Answer]]:
        """Return each task's answers, item by item, in the order of `questions`.

        Args:
            model: In the state to be read.
            cache: Of that state.

        Raises:
            InputError: A task that judges no single item, runs programs, or asks for what this library has not.
        """
        from lm_eval.evaluator import evaluate

        from ellora_trust.evaluation.asking.harness_model import HarnessModel

        lm = HarnessModel(model, cache, progress=self._progress)
        unsafe = [name for name, task in self._loaded["tasks"].items() if getattr(task, "UNSAFE_CODE", False)]
        if unsafe:
            raise InputError(
                f"lm-eval's {unsafe[0]} runs the model's programs outside any sandbox; use our own task humaneval or "
                "synthesis"
            )
        with _quiet():
            found: Any = evaluate(lm, self._loaded, limit=self._limit, bootstrap_iters=0, log_samples=True)
        read = [_items(name, samples, self._metrics) for name, samples in found["samples"].items()]
        self.questions = [question for question, _ in read]
        return [answers for _, answers in read]

    @cached_property
    def _loaded(self) -> Any:
        """The tasks with their data."""
        from lm_eval.tasks import TaskManager

        include = str(self._include) if self._include else None
        with _quiet():
            manager = TaskManager(include_path=include, include_defaults=False) if include else None
            if manager is None or not set(self._names) <= set(manager.all_tasks):
                manager = TaskManager(include_path=include)
            unknown = [name for name in self._names if name not in manager.all_tasks]
            if unknown:
                near = closest(unknown[0], manager.all_tasks)
                hint = f"did you mean {near!r}? " if near else ""
                raise InputError(
                    f"unknown lm-eval task {unknown[0]!r}, {len(manager.all_tasks)} are known; {hint}run 'lm-eval ls "
                    "tasks' for a list, or add your own with --lm-eval-include DIR"
                )
            return _load(manager, self._names)


def _load(manager: Any, names: list[str]) -> Any:
    from httpx import HTTPError

    try:
        loaded = manager.load(names)
    except (OSError, HTTPError) as error:
        raise EnvironmentProblem(
            f"the data of {', '.join(names)} could not be loaded ({_first_line(error)}); lm-eval downloads it from the "
            "Hugging Face hub: connect, put it into the hub's cache, or give a local task with --lm-eval-include"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"a task file of {', '.join(names)} is wrong ({_first_line(error)}); see lm-eval's guide to new tasks"
        ) from error
    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=_SEED)
    return loaded


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the harness say only what is wrong."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets")]
    levels = [one.level for one in loggers]
    try:
        for one in loggers:
            one.setLevel(logging.ERROR)
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def _items(
    task: str, samples: Sequence[Mapping[str, Any]], known: dict[str, str]
) -> tuple[HarnessQuestion, list[Answer]]:
    """Return a task's questions and answers by its known metric; of several filters the first one counts."""
    first = samples[0]["filter"] if samples else ""
    rows = sorted((one for one in samples if one["filter"] == first), key=lambda one: one["doc_id"])
    metric = known[task] = _metric(task, rows, known.get(task))
    name = f"lm-eval:{task} ({metric})"
    return HarnessQuestion(name, [_example(name, one) for one in rows]), [_answer(one, metric) for one in rows]


def _metric(task: str, rows: Sequence[Mapping[str, Any]], known: str | None) -> str:
    names = [known] if known else list(rows[0]["metrics"]) if rows else []
    for name in [*(one for one in METRICS if one in names), *names]:
        if all(isinstance(row[name], (bool, int, float)) and row[name] in (0, 1) for row in rows):
            return name
    raise InputError(
        f"lm-eval's {task} says of no item whether it is right (it has {', '.join(names) or 'no items'}); only tasks "
        "with acc, exact_match or the like can be paired"
    )


def _example(name: str, row: Mapping[str, Any]) -> Example:
    doc = row["doc"] if isinstance(row["doc"], Mapping) else {}
    prompt = row["arguments"][0][0]
    return Example(f"{name}/{row['doc_id']}", str(doc.get("group", row["doc_hash"])), prompt, _reference(row))


def _reference(row: Mapping[str, Any]) -> str:
    target, choices = row["target"], row["arguments"]
    if isinstance(target, int) and _is_choice(row) and target < len(choices):
        return str(choices[target][1])
    return str(target)


def _is_choice(row: Mapping[str, Any]) -> bool:
    return all(isinstance(one, (tuple, list)) and len(one) == 2 for one in row["filtered_resps"])


def _answer(row: Mapping[str, Any], metric: str) -> Answer:
    outcome = Outcome.CORRECT if row[metric] == 1 else Outcome.WRONG
    given = row["filtered_resps"]
    if not _is_choice(row):
        return Answer(str(given[0]), outcome, None, math.nan, ())
    likelihoods = [float(one[0]) for one in given]
    best = max(range(len(given)), key=likelihoods.__getitem__)
    # Among the choices; a single one is its own whole.
    share = 1 / sum(math.exp(one - likelihoods[best]) for one in likelihoods)
    return Answer(str(row["arguments"][best][1]), outcome, None, share if len(given) > 1 else math.nan, ())
