"""How figures are printed: the median, the spread, and the budget beside them."""

import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile of the values, which need not be sorted."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(len(ordered) * percent / 100))]


def say(name: str, unit: str, figures: Sequence[float], budget: str = "") -> None:
    """Print what was measured in each run as one line."""
    text = f"  {name:38} {_short(statistics.median(figures)):>8} {unit}"
    if len(figures) > 1:
        spread = f"{_short(min(figures))} to {_short(max(figures))}"
        text = f"{text:60} ({spread} in {len(figures)} runs)"
    print(f"{text:95} budget {budget}" if budget else text, flush=True)


def _short(figure: float) -> str:
    if figure >= 1000:
        return f"{figure:,.0f}"
    return f"{figure:.1f}" if figure >= 10 else f"{figure:.3f}"
