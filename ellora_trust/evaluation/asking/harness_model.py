"""A `CodeModel` as lm-evaluation-harness sees a model: log-likelihoods and generations, from this library's own runs.

    lm_eval.evaluator.evaluate(HarnessModel(model, ItemCache(state_of(model))), task_dict)

The harness's own wrapper of transformers models hands over context and continuation as one text. What acts at the
prompt's end, as a steering vector does, would then act at the continuation's. Here the model is told where the prompt
ends. Needs the extra `lm-eval`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from ellora_trust.batching import Row, plan_batches
from ellora_trust.decoding import Decoding
from ellora_trust.errors import InputError
from ellora_trust.evaluation.asking.cache import ItemCache, sha256
from ellora_trust.inference import SharedPrefix, forward
from ellora_trust.layout import Batch, running
from ellora_trust.positions import Passage
from ellora_trust.progress import Progress
from ellora_trust.runs import run

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel

# Requests between two writes to the cache.
_CHUNK = 256
# Of an answer where a task does not say, as in the harness's own wrapper.
_MAX_TOKENS = 256
_KNOWN = {"until", "max_gen_toks", "do_sample", "temperature"}
# Text of a request, tokens before and tokens scored.
Pair = tuple[tuple[str, str] | None, list[int], list[int]]


class HarnessModel(TemplateLM):
    """One state of a model.

    Attributes:
        model: In that state.
        cache: Of it; every request is kept.
        progress: Show progress bars.
    """

    def __init__(self, model: CodeModel, cache: ItemCache, *, progress: bool = False) -> None:
        super().__init__()
        self.model, self.cache, self.progress = model, cache, progress
        self.tokenizer = model.tokenizer

    @property
    def eot_token_id(self) -> int:
        """What a text ends with, and what is read before one without context."""
        return int(self.model.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        bos = self.model.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return the tokens of a text; special ones as the tokenizer adds them unless told otherwise."""
        special = True if add_special_tokens is None else add_special_tokens
        return list(self.model.tokenizer(string, add_special_tokens=special).input_ids)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Return the log-probability of whole texts, in nats, each token read with as much before it as fits."""
        windows: list[Pair] = []
        owners: list[int] = []
        for number, one in enumerate(requests):
            (text,) = one.args
            cut = get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.model.max_length - 1,
                context_len=1,
            )
            pairs = [make_disjoint_window(window) for window in cut]
            windows += [(None, list(context), list(scored)) for context, scored in pairs]
            owners += [number] * len(pairs)
        found = self._loglikelihood_tokens(windows)
        return [
            sum(value for at, (value, _) in zip(owners, found, strict=True) if at == n) for n in range(len(requests))
        ]

    def _loglikelihood_tokens(self, requests: list[Pair], **_: Any) -> list[tuple[float, bool]]:
        """Return the log-probability of each continuation, in nats, and whether it is the likeliest at every token."""
        rows = [_row(context, scored, self.model.max_length) for _, context, scored in requests]
        keys = [sha256(["lm-eval", row.ids, row.n_prompt]) for row in rows]
        known = self.cache.get(keys)
        missing = [i for i, key in enumerate(keys) if key not in known]
        with Progress(len(missing), "scoring", enabled=self.progress) as bar:
            for start in range(0, len(missing), _CHUNK):
                part = missing[start : start + _CHUNK]
                fresh = dict(zip([keys[i] for i in part], self._score([rows[i] for i in part]), strict=True))
                self.cache.put(fresh)
                known.update(fresh)
                bar.advance(len(part))
        return [(float(known[key][0]), bool(known[key][1])) for key in keys]

    @torch.no_grad()
    def _score(self, rows: Sequence[Row]) -> list[tuple[float, bool]]:
        found: dict[int, tuple[float, bool]] = {}
        for batch in plan_batches([len(row.ids) for row in rows], self.model.token_budget):
            chosen = [rows[i] for i in batch]
            most = max(len(row.ids) - row.n_prompt for row in chosen)
            with running(self.model, Batch.of(chosen, batch)):
                state = forward(
                    self.model,
                    [row.ids for row in chosen],
                    keep_logits=most + 1,
                    use_cache=False,
                    prefix=SharedPrefix([]),
                )
            assert state.logits is not None, "asked for"
            found.update(zip(batch, map(_scored, chosen, torch.log_softmax(state.logits.float(), -1)), strict=True))
        return [found[i] for i in range(len(rows))]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return an answer to each request, without the string that ended it.

        Raises:
            InputError: A setting of sampling that this library has not.
        """
        groups: dict[Decoding, list[int]] = {}
        asked: list[tuple[Any, ...]] = [one.args for one in requests]
        for number, (_, settings) in enumerate(asked):
            groups.setdefault(_decoding(settings), []).append(number)
        found: dict[int, str] = {}
        for decoding, numbers in groups.items():
            texts = [self._fitting(asked[i][0], decoding.max_new_tokens) for i in numbers]
            found.update(zip(numbers, self._generate(texts, decoding), strict=True))
        return [found[i] for i in range(len(requests))]

    def _generate(self, texts: list[str], decoding: Decoding) -> list[str]:
        how = [decoding.max_new_tokens, list(decoding.stop), decoding.temperature]
        # A sampled answer's stream depends on its number.
        sampled = decoding.temperature > 0
        keys = [sha256(["lm-eval answer", text, how, i if sampled else 0]) for i, text in enumerate(texts)]
        known = self.cache.get(keys)
        missing = [i for i, key in enumerate(keys) if key not in known]
        if missing and sampled:
            missing = list(range(len(texts)))
        size = max(len(missing), 1) if sampled else _CHUNK
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            passages = [Passage(texts[i]) for i in part]
            made = run(self.model, passages, decoding=decoding, progress=self.progress, label="answering").generations
            fresh = {keys[i]: one.text for i, one in zip(part, made, strict=True)}
            self.cache.put(fresh)
            known.update(fresh)
        return [known[key] for key in keys]

    def _fitting(self, text: str, reserve: int) -> str:
        """Return as much of the text's end as leaves room for an answer."""
        room = self.model.max_length - reserve
        if room < 1:
            raise InputError(
                f"the task asks for {reserve} tokens, {self.model.name} reads at most {self.model.max_length}; set "
                "max_gen_toks in the task's generation_kwargs"
            )
        tokens = self.tok_encode(text)
        if 0 < len(tokens) <= room:
            return text
        return self.model.decode(tokens[-room:] or [self.prefix_token_id])


def _row(context: list[int], scored: list[int], most: int) -> Row:
    """Return the last tokens that the model's context holds; at least one of them is read before the first scored."""
    ids = [*context, *scored][-most:]
    return Row(ids, max(len(ids) - len(scored), 1))


def _scored(row: Row, logprobs: torch.Tensor) -> tuple[float, bool]:
    """Log-probability and greediness of a row's continuation; rows are padded on the left."""
    n = len(row.ids) - row.n_prompt
    wanted = torch.tensor(row.ids[row.n_prompt :], device=logprobs.device)
    steps = logprobs[len(logprobs) - n - 1 : len(logprobs) - 1]
    value = float(steps.gather(1, wanted[:, None]).double().sum())
    return value, bool((steps.argmax(-1) == wanted).all())


def _decoding(given: Mapping[str, Any]) -> Decoding:
    """Return the decoding that a task's generation_kwargs ask for."""
    sampled = bool(given.get("do_sample"))
    # A greedy answer does not depend on what only shapes sampling; beams are another answer.
    unknown = sorted(set(given) - _KNOWN) if sampled else [n for n in ("num_beams",) if given.get(n, 1) != 1]
    if unknown:
        raise InputError(
            f"the task answers with {unknown[0]!r}, which is not done here; use temperature alone, or do_sample: false"
        )
    until = given.get("until") or ()
    stop = (until,) if isinstance(until, str) else tuple(until)
    tokens = int(given.get("max_gen_toks", _MAX_TOKENS))
    return Decoding(tokens, stop, float(given.get("temperature", 1.0)) if sampled else 0.0)
