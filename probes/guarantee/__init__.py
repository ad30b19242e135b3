"""Guarantee: a threshold under which the share of wrong answers is bounded."""
