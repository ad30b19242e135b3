"""How a question is put to a model: fill-in-the-middle, a chat turn, or plain text; the format is always recorded.

The fill-in-the-middle spellings are looked up in the tokenizer's vocabulary, not chosen by the model's name.

    fim_format(tokenizer)                                   # FimFormat("starcoder2", ...) or None
    render(model, example, format="auto", header="")        # Rendered(text=..., format="fim:qwen2.5-coder:psm")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ellora_trust.errors import InputError, one_of

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel
    from ellora_trust.tasks.base import Example

Format = Literal["auto", "fim", "chat", "plain"]
Order = Literal["psm", "spm", "suffix-first"]
FORMATS = ("auto", "fim", "chat", "plain")


@dataclass(frozen=True)
class FimFormat:
    """One family's fill-in-the-middle spelling.

    Attributes:
        family: Who uses it.
        prefix: Token before the code that precedes the gap.
        suffix: Token before the code that follows the gap.
        middle: Token after which the model fills the gap.
        order: `psm`: prefix, suffix, middle. `spm`: the suffix's token, suffix, then prefix after the middle token's
            place, as CodeLlama defines it. `suffix-first`: suffix, then prefix, and no middle token (Codestral).
        space: Whether the family writes a space after each marker (CodeLlama's SentencePiece does).
    """

    family: str
    prefix: str
    suffix: str
    middle: str
    order: Order = "psm"
    space: bool = False

    def render(self, prefix: str, suffix: str) -> str:
        """Return the prompt that asks for what stands between `prefix` and `suffix`."""
        gap = " " if self.space else ""
        if self.order == "psm":
            return f"{self.prefix}{gap}{prefix}{gap}{self.suffix}{suffix}{gap}{self.middle}"
        if self.order == "spm":
            return f"{self.prefix}{gap}{self.suffix}{suffix}{gap}{self.middle}{gap}{prefix}"
        return f"{self.suffix}{suffix}{self.prefix}{prefix}"


# Sources: StarCoder (arXiv:2305.06161, section 3.2) and StarCoder2 model cards; Code Llama (arXiv:2308.12950, 2.3);
# Qwen2.5-Coder README; DeepSeek-Coder README (the bars are U+FF5C, the underscore-like signs U+2581); CodeGemma model
# card; Codestral through mistral-common's `encode_fim` ([SUFFIX]suffix[PREFIX]prefix).
FIM_FORMATS = (
    FimFormat("starcoder", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    FimFormat("santacoder", "<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    FimFormat("qwen2.5-coder/codegemma", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    FimFormat("deepseek-coder", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    FimFormat("codellama", "▁<PRE>", "▁<SUF>", "▁<MID>", space=True),
    FimFormat("codestral", "[PREFIX]", "[SUFFIX]", "[MIDDLE]", order="suffix-first"),
)


@dataclass(frozen=True)
class Rendered:
    """A prompt and the format it was put in, such as `plain` or `fim:starcoder:psm`."""

    text: str
    format: str


def fim_format(tokenizer: Any, order: Order | None = None) -> FimFormat | None:
    """Return the tokenizer's fill-in-the-middle spelling, or None if its vocabulary has none.

    Args:
        tokenizer: A transformers tokenizer.
        order: Another order than the family's own; `spm` is known to work with the `psm` families.
    """
    vocabulary = tokenizer.get_vocab()
    for known in FIM_FORMATS:
        if known.prefix in vocabulary and known.suffix in vocabulary and known.middle in vocabulary:
            bare = [token.removeprefix("▁") for token in (known.prefix, known.suffix, known.middle)]
            return FimFormat(known.family, *bare, order=order or known.order, space=known.space)
    return None


def render(model: CodeModel, example: Example, *, format: Format = "auto", header: str = "") -> Rendered:
    """Return an example's prompt in a format.

    Args:
        model: Whose vocabulary and chat template decide what is possible.
        example: The question.
        format: `auto` takes fill-in-the-middle where the model and the example have it, else plain text.
        header: Few-shot text, put before a plain prompt.

    Raises:
        InputError: An unknown format, or one that the model or the example does not have.
    """
    if format not in FORMATS:
        raise InputError(one_of(format, FORMATS, what="prompt format"))
    has_gap = bool(example.prefix or example.suffix)
    fim = fim_format(model.tokenizer) if format in ("auto", "fim") and has_gap else None
    if fim is not None:
        return Rendered(fim.render(example.prefix, example.suffix), f"fim:{fim.family}:{fim.order}")
    if format == "fim":
        lacking = f"{model.name} has no fill-in-the-middle tokens" if has_gap else f"example {example.id} has no gap"
        raise InputError(f"{lacking}; use --format plain")
    if format == "chat":
        return Rendered(chat(model, header + example.prompt), "chat")
    return Rendered(header + example.prompt, "plain")


def chat(model: CodeModel, user: str, *, prefill: str = "") -> str:
    """Return one user turn in the model's chat template, the assistant's turn begun with `prefill`.

    Raises:
        InputError: The tokenizer has no chat template.
    """
    if not getattr(model.tokenizer, "chat_template", None):
        raise InputError(f"{model.name} has no chat template; use --format plain")
    turns = [{"role": "user", "content": user}]
    return model.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) + prefill
