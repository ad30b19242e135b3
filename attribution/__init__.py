"""ellora-trust's attribution: which training documents, tokens and components an answer comes from.

from attribution import GradientIndex
"""
