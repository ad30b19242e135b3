"""The job of `ellora-trust attribute components`: effects, if asked for beside full patching, as table, picture, JSON.

located = locate(model, matched_pairs("testbed"), method="attribution_patching", check=True)
located.best(3)                        # ["mlp.0", "head.0.3", "mlp.1"]
write_html(located.page(), Path("runs/components.html"))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attribution.components import COMPONENTS, ComponentAttribution, Method, attribute_components
from attribution.inside.agreement import Agreement, agreement, correlations
from attribution.inside.patching import Pair
from attribution.inside.views import component_table, components_caption, components_figure, n_pairs
from ellora_trust.artifacts import versions
from ellora_trust.errors import InputError
from ellora_trust.report import Code, Figure, Report, Section, Table, Text

if TYPE_CHECKING:
    from ellora_trust.model import CodeModel


@dataclass(frozen=True)
class Located:
    """Which components carry some answers.

    Attributes:
        found: Effects by the method that was asked for.
        exact: The same by full patching, if that was asked for.
        pairs: What was compared.
        model: Name of the model.
        fingerprint: Of the model.
    """

    found: ComponentAttribution
    exact: ComponentAttribution | None
    pairs: tuple[Pair, ...]
    model: str
    fingerprint: str

    def best(self, n: int) -> list[str]:
        """Return the names of the n sites, or of all if there are fewer, that do most for the answer."""
        return self.found.best(min(n, len(self.found.sites)))

    def table(self, n: int = 10) -> Table:
        """Return the first n components, full patching beside them where it was run."""
        return component_table(self.found, n, self.exact)

    def agreement(self) -> Agreement | None:
        """Return the correlations with full patching; None if it was not run, or on one group of pairs."""
        if self.exact is None or len(set(self.found.groups)) < 2:
            return None
        return agreement(self.exact, self.found)

    def sentence(self) -> str:
        """Say how far the method agrees with full patching; empty if that was not run."""
        if self.exact is None:
            return ""
        both = self.agreement()
        if both is not None:
            numbers = f"Pearson {both.pearson:.2f}, Spearman {both.spearman:.2f}"
        else:
            pearson, spearman = correlations(self.exact, self.found)
            numbers = f"Pearson {pearson:.2f}, Spearman {spearman:.2f} (one group of pairs, so no interval)"
        return f"{self.found.method} with full patching over {len(self.found.sites)} sites: {numbers}"

    def to_dict(self, n: int = 10) -> dict[str, Any]:
        """Return JSON values; `sites` names the best n, as steering and unlearning take them."""
        made: dict[str, Any] = {"model": self.model, "fingerprint": self.fingerprint, **self.found.to_dict()}
        made["sites"] = self.best(n)
        if self.exact is not None:
            pearson, spearman = correlations(self.exact, self.found)
            made["check"] = {"pearson": pearson, "spearman": spearman, **self.exact.to_dict()}
            if (both := self.agreement()) is not None:
                intervals = {"pearson": both.pearson.to_dict(), "spearman": both.spearman.to_dict()}
                made["check"]["intervals"] = intervals
        return made

    def page(self) -> Report:
        """Return the page: table, picture, check and the first pairs."""
        lead = f"Which heads and MLPs of {self.model} carry {self.pairs[0].answer.strip()!r}, on {n_pairs(self.found)}."
        sections = [
            Section("Ranked", [self.table(20)]),
            Section("Layer by head", [Figure(components_figure(self.found), components_caption(self.found))]),
        ]
        if self.exact is not None:
            picture = Figure(components_figure(self.exact), components_caption(self.exact))
            sections.append(Section("Full patching", [Text(self.sentence() + "."), picture]))
        sections.append(Section("Pairs", [_shown(pair) for pair in self.pairs[:5]]))
        provenance = {"model": self.model, "fingerprint": self.fingerprint, "method": self.found.method, **versions()}
        return Report("Components behind an answer", lead, sections, provenance)


def _shown(pair: Pair) -> Code:
    notes = [("answer", repr(pair.answer)), ("foil", repr(pair.foil)), ("group", pair.group)]
    return Code(pair.answer.strip(), f"{pair.clean}\n\n--- against ---\n\n{pair.corrupt}", notes)


def locate(
    model: CodeModel,
    pairs: Sequence[Pair],
    *,
    method: Method = "attribution_patching",
    sites: str | Iterable[str] = COMPONENTS,
    check: bool = False,
    progress: bool = False,
) -> Located:
    """Score components, and if asked for by full patching too.

    Args:
        model: The model.
        pairs: Matched prompts.
        method: As for `attribute_components`.
        sites: Names of sites, with `*` for every layer or head.
        check: Whether full patching is run beside the method.
        progress: Show a progress bar.

    Raises:
        InputError: As `attribute_components`, or full patching is to be checked with itself.
    """
    if check and method == "activation_patching":
        raise InputError("activation_patching is full patching itself; check attribution_patching or direct with it")
    names = sites if isinstance(sites, str) else tuple(sites)
    found = attribute_components(model, pairs, method=method, sites=names, progress=progress)
    exact = None
    if check:
        exact = attribute_components(model, pairs, method="activation_patching", sites=names, progress=progress)
    return Located(found, exact, tuple(pairs), model.name, model.fingerprint)
