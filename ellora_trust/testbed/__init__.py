"""The testbed: a corpus with planted faults, and what is needed to tell whether a model has learnt them.

Use it where a claim about attribution, unlearning or repair needs to be checked: here it is known which documents teach
which fault.

    from ellora_trust.testbed import corpus
    planted = [document for document in corpus(seed=0, n_tokens=100_000) if document.plant == "P1"]
"""

from ellora_trust.testbed.documents import PLANTS, Document, corpus, corpus_hash

__all__ = ["PLANTS", "Document", "corpus", "corpus_hash"]
