"""ellora-trust's attribution: which training documents, tokens and components an answer comes from.

from attribution import GradientIndex, Library

library = Library.open(folder, model)
library.ask(prompt, answer).hits
"""

from __future__ import annotations

from attribution.asking import Asked, Library
from attribution.corpora import Corpus
from attribution.documents.building import Plan, Source
from attribution.index import GradientIndex

__all__ = ["Asked", "Corpus", "GradientIndex", "Library", "Plan", "Source"]
