"""Which tokens are steered: named places of a prompt, or places in its code.

    Where(("prompt_end",), tokenizer)             # the last token of the prompt
    Where(('last_use("x")',), tokenizer)          # tokens of the prompt's last read of x
    Where(("prompt", "answer"), tokenizer)        # everything but the first token

| name | tokens |
|---|---|
| `prompt_end` | the prompt's last token, from whose activation the answer's first token is predicted |
| `fim_middle` | the fill-in-the-middle token that closes the prompt's frame |
| `prompt` | the prompt without its first token, which is an attention sink in most decoders |
| `answer` | what is generated or scored after the prompt |
| `all` | `prompt` and `answer` |
| a selector | as in `ellora_trust.spans`: `definition("x")`, `alias_of("x")`, `call("f")[0]`, in the prompt's text |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ellora_trust.errors import InputError
from ellora_trust.prompts import fim_format
from ellora_trust.spans import Language, select, token_map

if TYPE_CHECKING:
    from ellora_trust.layout import Layout

NAMES = ("prompt_end", "fim_middle", "prompt", "answer", "all")


class Where:
    """Positions in prompts, resolved for each batch.

    Args:
        names: Of the table above; a token that any of them names is meant.
        tokenizer: Of the model.
        language: Of the code that selectors are about.

    Raises:
        InputError: No name, an unknown one, or `fim_middle` for a vocabulary without such tokens.
    """

    def __init__(self, names: str | Sequence[str], tokenizer: Any, language: Language = "python"):
        self.names = (names,) if isinstance(names, str) else tuple(names)
        if not self.names:
            raise InputError(f'no position was given; use {", ".join(NAMES)}, or a selector such as last_use("x")')
        self._tokenizer = tokenizer
        self._language: Language = language
        self._selectors = [name for name in self.names if name not in NAMES]
        for name in self._selectors:
            _check_selector(name, language)
        self._middle = self._middle_token() if "fim_middle" in self.names else None
        self._found: dict[tuple[int, ...], list[int]] = {}

    @property
    def only_prompt_end(self) -> bool:
        """Whether nothing before the prompt's last token is steered, so that prompts may share their first tokens."""
        return set(self.names) <= {"prompt_end", "answer"}

    @property
    def while_writing(self) -> bool:
        """Whether tokens of the answer are steered."""
        return bool({"answer", "all"} & set(self.names))

    def mask(self, layout: Layout) -> Tensor:
        """Return which columns of the running forward are meant, (batch, tokens) bool."""
        at, ends = layout.positions, layout.ends
        found = torch.zeros_like(at, dtype=torch.bool)
        if "prompt_end" in self.names:
            found |= at == ends - 1
        if "prompt" in self.names or "all" in self.names:
            found |= (at >= 1) & (at < ends)
        if self.while_writing:
            found |= at >= ends
        if self._selectors or self._middle is not None:
            rows = [self._places(prompt) for prompt in layout.batch.prompts]
            width = max(1, *map(len, rows))
            # -2 is no position: padding has -1.
            places = torch.tensor([row + [-2] * (width - len(row)) for row in rows], device=at.device)
            found |= (at[:, :, None] == places[:, None, :]).any(-1)
        return found

    def _places(self, prompt: tuple[int, ...]) -> list[int]:
        """Tokens of one prompt that the selectors and `fim_middle` mean."""
        if prompt not in self._found:
            self._found[prompt] = sorted({*self._selected(prompt), *self._middles(prompt)})
        return self._found[prompt]

    def _selected(self, prompt: tuple[int, ...]) -> list[int]:
        if not self._selectors:
            return []
        text = self._tokenizer.decode(prompt, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        tokens = token_map(self._tokenizer, text, ids=prompt)
        spans = [span for name in self._selectors for span in select(text, self._language, name)]
        return [i for span in spans for i in tokens.tokens_of(span.start, span.end)]

    def _middles(self, prompt: tuple[int, ...]) -> list[int]:
        if self._middle is None:
            return []
        places = [i for i, token in enumerate(prompt) if token == self._middle]
        if not places:
            raise InputError("a prompt has no fill-in-the-middle token; render it with format='fim' or use prompt_end")
        return places[-1:]

    def _middle_token(self) -> int:
        known = fim_format(self._tokenizer)
        if known is None or known.order != "psm":
            raise InputError("this tokenizer has no token that ends a fill-in-the-middle prompt; use prompt_end")
        vocabulary = self._tokenizer.get_vocab()
        return vocabulary.get(known.middle, vocabulary.get(f"▁{known.middle}"))


def _check_selector(name: str, language: Language) -> None:
    try:
        select("x", language, name)
    except InputError as error:
        raise InputError(f"unknown position {name!r} ({error}); use {', '.join(NAMES)}, or a selector") from error
