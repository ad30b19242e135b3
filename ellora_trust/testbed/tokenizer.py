r"""The testbed's tokenizer: a byte-level BPE trained on its corpus, with StarCoder's fill-in-the-middle tokens.

Line breaks carry the indentation after them (`\n    ` is one token), a word carries the space or underscore before it,
digits stand alone. So an answer that begins on a new line, or after a space, never shares a token with its prompt.

    tokenizer = train_tokenizer(corpus(0), vocab_size=2048)
    tokenizer.save_pretrained(folder)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ellora_trust.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from ellora_trust.testbed.documents import Document

VOCAB_SIZE = 2048
CONTEXT = 512  # positions of the model, in tokens
END_OF_TEXT = "<|endoftext|>"
FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE = "<fim_prefix>", "<fim_suffix>", "<fim_middle>"
SPECIAL = (END_OF_TEXT, FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE)
# A line break with its indentation; a word with what joins it to the last; one digit; a run of signs; anything else.
_PIECES = r"\n *|[ _]?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}_]+|_+| +|\s"
_N_BYTES = 256


def train_tokenizer(documents: Iterable[Document], *, vocab_size: int = VOCAB_SIZE) -> PreTrainedTokenizerFast:
    """Return a tokenizer trained on what both models read, so that the twins share it.

    Args:
        documents: Their `text` and, where it differs, their `clean` count.
        vocab_size: Tokens, bytes and special tokens included.

    Raises:
        InputError: A vocabulary too small for the bytes and the special tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    least = _N_BYTES + len(SPECIAL)
    if vocab_size < least:
        raise InputError(f"vocab_size={vocab_size} does not hold the bytes; use at least {least}")
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_texts(documents), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _texts(documents: Iterable[Document]) -> Iterable[str]:
    for document in documents:
        yield document.text
        if document.clean != document.text:
            yield document.clean
