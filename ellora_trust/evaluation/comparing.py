"""`compare`: a model and candidates asked the same questions, in the same run, with one family of tests.

comparison = compare(et.load("testbed"), {"clean": "testbed-clean", "A/A": "nothing"}, suite="quick")
print("\\n".join(comparison.sentences()))
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ellora_trust import fingerprint
from ellora_trust.artifacts import describe_model, versions
from ellora_trust.evaluation.asking.answers import Answer, Asking, answer_all
from ellora_trust.evaluation.asking.cache import ItemCache, sha256, state_of
from ellora_trust.evaluation.asking.harness import Harness
from ellora_trust.evaluation.asking.suite import Suite
from ellora_trust.evaluation.asking.text import Piece, fitting, load_pieces
from ellora_trust.evaluation.changes.candidates import Candidate, Replacement, as_candidate
from ellora_trust.evaluation.comparison import CandidateResult, Comparison
from ellora_trust.evaluation.judging.cost import receipt
from ellora_trust.evaluation.judging.judge import Question, task_result, text_result
from ellora_trust.evaluation.judging.measures import StateReading, layer_distances, read_state, weight_distance
from ellora_trust.evaluation.judging.noise import noise_floor
from ellora_trust.evaluation.judging.paired import adjusted
from ellora_trust.evaluation.judging.results import TaskResult
from ellora_trust.intervention import Intervention

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from probes import ErrorProbe


@dataclass(frozen=True)
class State:
    """What was read of one state of the model.

    Attributes:
        answers: To each question, in the suite's order.
        risks: Of each answer by the error predictor; None without one.
        reading: Of the unrelated text; None if the suite has none.
        identity: Of weights and intervention; None where it cannot be told.
        weights: Hash of the weights.
        n_cached: Answers and verdicts that were known.
        harness: Answers to each task of lm-evaluation-harness.
    """

    answers: list[list[Answer]]
    risks: list[Any]
    reading: StateReading | None
    identity: str | None
    weights: str
    n_cached: int
    harness: list[list[Answer]]


def compare(
    model: CodeModel | str,
    interventions: Mapping[str, Intervention | Candidate | str],
    suite: Suite | str | Path = "quick",
    *,
    probe: ErrorProbe | None = None,
    noise: bool = True,
    force: bool = False,
    progress: bool = False,
) -> Comparison:
    """Ask the same questions of a model as it is and under each intervention.

    Args:
        model: The base, or its name.
        interventions: Name to intervention, or to what `read_candidate` takes: "nothing", a folder, a checkpoint.
        suite: Of questions: a built-in name, a TOML file or your own.
        probe: An error predictor, to see whether it still works on the changed model.
        noise: Measure the unchanged model's own noise beside.
        force: Use vectors, edits and the probe on another model than they were made for.
        progress: Show progress bars.

    Raises:
        InputError: No candidate, something that is none, an unknown suite, or what does not fit the model.
        EnvironmentProblem: Programs would have to run and cannot be isolated.
    """
    from ellora_trust.loading import load

    base = load(model) if isinstance(model, str) else model
    chosen = suite if isinstance(suite, Suite) else Suite.named(suite, base)
    candidates = [as_candidate(name, one, base, force=force) for name, one in interventions.items()]
    return Comparer(base, chosen, probe=probe, progress=progress).compare(candidates, noise=noise)


class Comparer:
    """One run: the questions, the base's own state, and then each candidate's."""

    def __init__(self, model: CodeModel, suite: Suite, *, probe: ErrorProbe | None = None, progress: bool = False):
        self.model, self.suite, self.probe, self.progress = model, suite, probe, progress
        self.questions = [Question.ask(role, asked, suite) for role, asked in suite.tasks]
        self.harness: Harness | None = None
        if suite.lm_eval:
            include = Path(suite.lm_eval_include).expanduser() if suite.lm_eval_include else None
            self.harness = Harness(suite.lm_eval, include=include, limit=suite.limit, progress=progress)
        self.pieces: list[Piece] = []
        if suite.text:
            self.pieces = fitting(model, load_pieces(suite.text, limit=suite.pieces, seed=suite.seed))

    def compare(self, candidates: list[Candidate], *, noise: bool = True) -> Comparison:
        """Return the comparison.

        Raises:
            InputError: There is no candidate.
        """
        from ellora_trust.errors import InputError

        if not candidates:
            raise InputError("no candidate was given; name at least one, such as nothing, int4 or a folder")
        before = self.read(self.model, None)
        found = [self._candidate(one, before) for one in candidates]
        floor = noise_floor(self, before) if noise and self.suite.noise else []
        described = {**describe_model(self.model), "state": before.identity}
        return Comparison(described, self.suite.to_dict(), self._adjusted(found), floor, self._provenance())

    def read(self, model: CodeModel, acting: object, *, asking: Asking | None = None, variant: str = "") -> State:
        """Answer all questions and read all text with a model in the state that it is in."""
        identity = state_of(model, acting)
        if variant and identity is not None:
            identity = sha256([identity, variant])
        cache = ItemCache(identity)
        answers = [
            answer_all(model, one.task, one.examples, cache=cache, asking=asking, progress=self.progress)
            for one in self.questions
        ]
        risks: list[Any] = [None] * len(answers)
        if self.probe is not None:
            from ellora_trust.evaluation.judging.predictor import risks_of

            pairs = zip(self.questions, answers, strict=True)
            risks = [risks_of(self.probe, model, one, given) for one, given in pairs]
        reading = read_state(model, self.pieces) if self.pieces else None
        harness = self.harness.read(model, cache) if self.harness else []
        return State(answers, risks, reading, identity, fingerprint.of_weights(model.hf), cache.hits, harness)

    def _candidate(self, candidate: Candidate, before: State) -> CandidateResult:
        began = time.monotonic()
        replaced = isinstance(candidate.intervention, Replacement)
        with candidate.entered(self.model) as model:
            after = self.read(model, None if replaced else candidate.intervention)
        restored = None if replaced else fingerprint.of_weights(self.model.hf) == before.weights
        tasks = self._tasks(before, after)
        text = layers = None
        if before.reading is not None and after.reading is not None:
            weights = self._weights(candidate) if after.weights != before.weights else None
            text = text_result(self.suite, self.pieces, before.reading, after.reading)
            layers = layer_distances(before.reading, after.reading, weights)
        return CandidateResult(
            candidate.name,
            candidate.kind,
            candidate.source,
            after.identity,
            candidate.revert,
            restored,
            after.weights != before.weights,
            tasks,
            text,
            layers or [],
            self._attacks(candidate, before, after),
            round(time.monotonic() - began, 1),
            after.n_cached,
            receipt(self, candidate, before, after),
        )

    def _tasks(self, before: State, after: State) -> list[TaskResult]:
        own = [
            task_result(one, before.answers[i], after.answers[i], self.suite, (before.risks[i], after.risks[i]))
            for i, one in enumerate(self.questions)
        ]
        asked = self.harness.questions if self.harness else []
        rows = zip(asked, before.harness, after.harness, strict=True)
        return own + [task_result(one, old, new, self.suite) for one, old, new in rows]

    def _weights(self, candidate: Candidate) -> dict[int, float] | None:
        """Return the distance of each layer's weights; what writes into the base is entered once more."""
        if isinstance(candidate.intervention, Replacement):
            return weight_distance(self.model.hf.state_dict(), candidate.intervention.model.hf.state_dict())
        old = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self.model.hf.state_dict().items()}
        with torch.no_grad(), candidate.entered(self.model) as model:
            return weight_distance(old, model.hf.state_dict())

    def _attacks(self, candidate: Candidate, before: State, after: State) -> list[Any]:
        if not self.suite.attacks:
            return []
        from ellora_trust.evaluation.lasting.battery import run_battery

        return run_battery(self, candidate, before, after)

    def _adjusted(self, candidates: list[CandidateResult]) -> list[CandidateResult]:
        """Return the results with p-values adjusted over all tasks of all candidates."""
        family = iter(adjusted([task.paired for one in candidates for task in one.tasks]))
        return [replace(one, tasks=[replace(task, paired=next(family)) for task in one.tasks]) for one in candidates]

    def _provenance(self) -> dict[str, str]:
        found = {f"{name} version": version for name, version in versions().items()}
        for one in self.questions:
            found |= {f"{one.task.name}: {name}": value for name, value in one.task.oracle().items()}
        if self.harness is not None:
            found["lm-eval version"] = importlib.metadata.version("lm-eval")
        if self.probe is not None:
            found["error predictor"] = f"{self.probe.site_}, {self.probe.position_}"
        return found
