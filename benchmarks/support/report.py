"""How figures are printed: median and spread of several runs, with the budget beside them."""

import statistics
from collections.abc import Sequence


def report(what: str, unit: str, figures: Sequence[float], budget: str) -> None:
    """Print one line."""
    print(
        f"{what:<52} {statistics.median(figures):9.3f} {unit:<5}"
        f" ({min(figures):.3f} to {max(figures):.3f} in {len(figures)} runs; budget {budget})",
        flush=True,
    )


def percentile(figures: Sequence[float], share: float) -> float:
    """Return the figure below which a share of all lies."""
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
