"""Why it was said: words of the prompt, a pair of prompts that decides between answer and foil, heads and MLPs.

words = words_behind(model, said, span, instead, "c")
pair, sentence = decisive_pair(model, said.prompt, words.result)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ellora_trust.errors import InputError
from ellora_trust.explaining.said import AnswerSpan, Said

if TYPE_CHECKING:
    from attribution.inside.patching import Pair, Setting
    from attribution.prompt.job import Explained
    from attribution.prompt.units import By
    from attribution.tokens import TokenAttribution
    from ellora_trust.model import CodeModel
    from ellora_trust.spans import Language

# Parameters x tokens that leaving out units may cost: half a minute of one core, 8,000 tokens of 135 M parameters.
AFFORDABLE = 1.1e12
# Words left out of the prompt at most to make the model prefer the foil: more is another question, not a pair.
MOST_WORDS = 5


def words_behind(
    model: CodeModel, said: Said, span: AnswerSpan, instead: str | None, language: Language, *, progress: bool = False
) -> Explained:
    """Score the words before a span, of the prompt and of the answer so far, by what the span loses without them.

    Args:
        model: The model.
        said: Its answer.
        span: What is asked about.
        instead: What a foil says there; None asks for the span's own log-probability.
        language: Of prompt and answer.
        progress: Show a progress bar.

    Raises:
        InputError: As `attribution.prompt.job.explain_tokens`.
    """
    from attribution.prompt.job import explain_tokens

    before = said.prompt + said.answer[: span.start]
    by = finest(model, before, [span.text] + ([instead] if instead else []), language)
    return explain_tokens(
        model, before, span.text, foil=instead, method="ablation", language=language, by=by, progress=progress
    )


def finest(model: CodeModel, text: str, answers: Sequence[str], language: Language) -> By:
    """Return the finest division of a text whose units can be left out one by one at an affordable cost."""
    from attribution.prompt.units import units_of

    size = sum(parameter.numel() for parameter in model.hf.parameters())
    n_tokens = sum(len(model.tokenizer(text + answer).input_ids) for answer in answers)
    for by in ("identifier", "expression"):
        if size * n_tokens * len(units_of(model, text, language, by=by)) <= AFFORDABLE:
            return by
    return "line"


def decisive_pair(
    model: CodeModel, prompt: str, words: TokenAttribution, against: str | None = None
) -> tuple[Pair | None, str]:
    """Return a prompt after which the model prefers the foil, as a pair with the one that was asked, and say which.

    Without `against`, the words of the prompt that speak most for the answer are left out, one after the other, until
    the foil's first token of its own is likelier than the answer's.

    Args:
        model: The model.
        prompt: What was asked; only its words are left out, not those of the answer so far.
        words: Scores of the words before the answer, with a foil.
        against: Another prompt to compare with, if the reader has one.
    """
    from attribution.inside.patching import Pair

    if words.foil is None:
        return None, "No foil was given, so there is nothing to compare components on; give what should have been said."
    written = words.prompt[len(prompt) :]
    candidates = [(against, ["the other prompt"])] if against is not None else _without_words(prompt, words)
    margin, left_out = None, 0
    for corrupt, names in candidates:
        pair = Pair(words.prompt, corrupt + written, words.answer, words.foil)
        try:
            clean, margin = _margins(model, pair)
        except InputError as error:
            return None, f"No pair of prompts can be made: {error}."
        left_out = len(names)
        if margin < 0 or against is not None:
            return pair, _sentence(model, names, (clean, margin), given=against is not None)
    if margin is None:
        return None, "No pair of prompts can be made: no word of the prompt speaks for the answer rather than the foil."
    return None, (
        f"No pair of prompts can be made: without the {left_out} words that speak most for the answer {model.name} "
        f"still prefers it to the foil by {margin:.1f} nats, so no component was compared; give another prompt to "
        "compare with."
    )


def _without_words(prompt: str, words: TokenAttribution) -> list[tuple[str, list[str]]]:
    """The prompt without its first word by score, without the first two, and so on, and which words these are."""
    ranked = [unit for unit in words.ranked() if unit.score > 0 and unit.end <= len(prompt) and unit.kind != "mark"]
    found = []
    for n in range(1, min(len(ranked), MOST_WORDS) + 1):
        gone = sorted(ranked[:n], key=lambda unit: -unit.start)
        text = prompt
        for unit in gone:
            text = text[: unit.start] + text[unit.end :]
        if text.strip():
            found.append((text, [repr(unit.name) for unit in ranked[:n]]))
    return found


def _margins(model: CodeModel, pair: Pair) -> tuple[float, float]:
    """logit(answer) - logit(foil) after the prompt as it is and after the other, in nats."""
    from attribution.inside.patching import Setting

    setting = Setting.of(model, pair)
    return _margin(model, setting, setting.clean), _margin(model, setting, setting.corrupt)


@torch.no_grad()
def _margin(model: CodeModel, setting: Setting, ids: Sequence[int]) -> float:
    from attribution.inside.patching import difference

    return float(difference(model, torch.tensor([list(ids)], device=model.device), setting))


def _sentence(model: CodeModel, names: Sequence[str], margins: tuple[float, float], *, given: bool) -> str:
    clean, corrupt = margins
    how = "With the other prompt" if given else f"Without {', '.join(names)}"
    turned = f"{model.name} prefers the foil" if corrupt < 0 else f"{model.name} still prefers the answer"
    return f"{how} {turned}: logit(answer) - logit(foil) goes from {clean:+.1f} to {corrupt:+.1f} nats."
