"""`Watch`: what an attached probe has seen, while the model writes and afterwards.

    with attach(probe, model) as watch:
        model.generate(prompts)
    watch.answers[0].risk            # the number that the probe gives offline
    watch.token_risks[0].scores      # also readable while the answer is being written
    watch.flags                      # one bool an answer

It holds the newest call only; a server may stay attached for days.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ellora_trust.errors import InputError
from probes.watching.answer import TokenRisks, WatchedAnswer, n_read, watched_answer
from probes.watching.batch import Batch, text_scores
from probes.watching.policies import Decision, Policy, RiskEnd, RiskStop, TokenEvent
from probes.watching.readout import Readout
from probes.watching.trace import Tap, Trace

if TYPE_CHECKING:
    from ellora_trust.batching import Row
    from ellora_trust.decoding import Generation


class Watch:
    """An attached probe.

    Attributes:
        readout: How token scores become a risk.
        policy: What is done about it.
        needs_last: Whether an answer's last token must be run too.
    """

    def __init__(self, tap: Tap, readout: Readout, policy: Policy, eos_ids: frozenset[int] = frozenset()):
        self.tap, self.readout, self.policy = tap, readout, policy
        self.needs_last = readout.reads_answer
        self.eos_ids = eos_ids
        self.batch: Batch | None = None
        self._answers: dict[int, WatchedAnswer] = {}
        self._prefix: np.ndarray | None = None
        self._stopped: dict[int, int] = {}

    @property
    def answers(self) -> list[WatchedAnswer]:
        """What each finished answer of the newest call got, in the order of the prompts."""
        return [self._answers[number] for number in sorted(self._answers)]

    @property
    def flags(self) -> list[bool]:
        """Whether each answer's risk reaches the threshold."""
        return [answer.flagged for answer in self.answers]

    @property
    def token_risks(self) -> list[TokenRisks]:
        """Score and risk of each answer token so far, in the order of the prompts.

        Read while transformers' own `generate` is running, a row that has ended still grows by what it is fed.

        Raises:
            InputError: Read during a beam search, whose rows are no answers yet.
        """
        found = {number: TokenRisks(a.scores, a.risks) for number, a in self._answers.items()}
        for number, values, n_prompt in self._running():
            scores = values[n_prompt:]
            found[number] = TokenRisks(scores.tolist(), self.readout.token_risks(scores))
        return [found[number] for number in sorted(found)]

    @property
    def risks(self) -> list[float | None]:
        """Risk of each answer so far, [0, 1], known from the prompt's end on."""
        found = {number: a.deciding_risk for number, a in self._answers.items()}
        found.update({number: self.readout.risk(v, n_prompt) for number, v, n_prompt in self._running()})
        return [found[number] for number in sorted(found)]

    @property
    def forward_scores(self) -> np.ndarray:
        """Scores of the newest plain forward, (batch, longest text), by the token's index in its text; NaN beyond."""
        table = self.tap.trace.table()
        return table[:, ~np.isnan(table).all(0)]

    @property
    def n_forwards(self) -> int:
        """Forwards of the running batch so far."""
        return len(self.tap.trace)

    def stopping_criteria(self) -> RiskStop:
        """Return a criterion for transformers' `stopping_criteria=[...]`: it ends rows at the threshold."""
        return RiskStop(self, self.policy.rule)

    def logits_processor(self, eos_id: int | None = None) -> RiskEnd:
        """Return a processor for transformers' `logits_processor=[...]`: at the threshold a row can only end.

        Raises:
            InputError: The model has no end-of-text token and none is given.
        """
        eos_id = min(self.eos_ids, default=None) if eos_id is None else eos_id
        if eos_id is None:
            raise InputError("the model has no end-of-text token; give eos_id, or use stopping_criteria()")
        return RiskEnd(self, self.policy.rule, eos_id)

    def ask(self, newest: Sequence[int | None], decide: Decision) -> list[bool]:
        """Ask about each row of a transformers batch after its newest read token; a row once stopped stays so."""
        batch = self.batch
        if batch is None or batch.beams:
            raise InputError("rows can only be stopped inside generate and without beams; use num_beams=1")
        # What ended is fed padding.
        batch.ended |= {row for row, token in enumerate(newest) if token in self.eos_ids}
        return [
            row in self._stopped or (row not in batch.ended and self._ask(row, token, decide))
            for row, token in enumerate(newest)
        ]

    def _ask(self, row: int, token: int | None, decide: Decision) -> bool:
        batch = self.batch
        assert batch is not None, "callers check"
        values, n_prompt, number = batch.values(row), batch.n_prompt(row), batch.number(row)
        event = TokenEvent(
            number,
            len(values) - n_prompt,
            token,
            float(values[-1]),
            self.readout.token_risks(values[-1:])[0],
            self.readout.risk(values, n_prompt),
        )
        if decide(event):
            self._stopped[number] = event.n_tokens
            return True
        return False

    def _running(self) -> list[tuple[int, np.ndarray, int]]:
        """Number, scores, prompt length of every answer that is being written."""
        batch = self.batch
        if batch is None or not len(batch.trace):
            return []
        if batch.beams:
            raise InputError("beams are no answers yet; read the scores when generate has returned")
        rows = range(len(batch.trace.table()))
        return [(batch.number(row), batch.values(row), batch.n_prompt(row)) for row in rows]

    def was_stopped(self, number: int) -> bool:
        """Whether the policy ended this answer."""
        return number in self._stopped

    def clear(self) -> None:
        """Forget the last call, also one that an exception ended."""
        self._answers, self._stopped, self.batch, self._prefix = {}, {}, None, None
        self.tap.close()

    def record(
        self, number: int, values: np.ndarray, n_prompt: int, tokens: Sequence[int], *, n_answer: int, finish: str
    ) -> None:
        """Keep a finished answer; `values` may reach beyond its end."""
        read = n_read(len(tokens), n_answer)
        if number in self._stopped:
            read = n_answer = self._stopped[number]
            tokens, finish = tokens[:read], "abstain"
        values = text_scores(values[: n_prompt + read])
        self._answers[number] = watched_answer(self.readout, values, n_prompt, tokens, n_answer, finish=finish)

    def replace(self, answers: Sequence[WatchedAnswer]) -> None:
        """Put the answers that were kept in the place of the last draw's."""
        self._answers = dict(enumerate(answers))

    # What follows is `ellora_trust.observer.Observer`: the library's own generation tells of its batches.

    def start(self, n: int) -> None:
        self.clear()

    def begin(self, rows: Sequence[Row], numbers: Sequence[int], n_shared: int) -> None:
        if n_shared and self._prefix is None:
            self._prefix = self.tap.trace.table()[0, :n_shared]
        prefix = self._prefix if n_shared and self._prefix is not None else np.empty(0)
        self.tap.trace, self.tap.open = Trace(), True
        n_prompts = [row.n_prompt for row in rows]
        self.batch = Batch(self.tap.trace, numbers, n_prompts=n_prompts, prefix=prefix)

    def select(self, keep: Sequence[int]) -> None:
        self.tap.trace.select(keep)

    def stops(self, tokens: Sequence[Sequence[int] | None]) -> list[int]:
        batch, rows = self.batch, self.tap.trace.rows
        assert batch is not None, "begin() makes it"
        running = [(i, i if rows is None else rows[i], t) for i, t in enumerate(tokens) if t is not None]
        batch.lengths.update({row: len(t) for _, row, t in running})
        decide = self.policy.decide
        if decide is None:
            return []
        return [i for i, row, t in running if self._ask(row, t[-1] if t else None, decide)]

    def end(self, generations: Sequence[Generation]) -> None:
        batch, self.batch = self.batch, None
        assert batch is not None, "begin() makes it"
        batch.lengths.clear()
        for row, g in enumerate(generations):
            values, n_prompt = batch.values(row), batch.n_prompt(row)
            self.record(batch.number(row), values, n_prompt, g.tokens, n_answer=g.n_answer, finish=g.finish)
        self.tap.close()
