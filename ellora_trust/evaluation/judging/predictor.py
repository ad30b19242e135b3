"""Does an error predictor still work on the changed model? Its risk of each answer, read from the model as it is now.

risks = risks_of(probe, model, question, answers)      # (n,), [0, 1]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ellora_trust.evaluation.asking.answers import Answer
from ellora_trust.evaluation.judging.judge import Question
from ellora_trust.hooks import capture
from ellora_trust.positions import Passage
from ellora_trust.prompts import render

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from probes import ErrorProbe


def risks_of(probe: ErrorProbe, model: CodeModel, question: Question, answers: Sequence[Answer]) -> np.ndarray:
    """Return the predictor's calibrated risk of each answer, [0, 1], (n,).

    Args:
        probe: Fitted; its site and position are read.
        model: In the state whose answers these are.
        question: The task with its examples.
        answers: One to each example.
    """
    passages = [
        Passage(render(model, example, header=question.task.header).text, one.text, answer_ids=one.tokens)
        for example, one in zip(question.examples, answers, strict=True)
    ]
    seen = capture(model, passages, probe.site_, [probe.position_])
    return probe.predict(seen.vectors(probe.site_, probe.position_))
