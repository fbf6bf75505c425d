"""What tokens cost by the list: for work that has not ended, and so has not said what it did cost."""

from collections.abc import Mapping

_INPUT_AND_OUTPUT = {"opus": (5.0, 25.0), "sonnet": (3.0, 15.0), "haiku": (1.0, 5.0)}
"""Dollars per million tokens, by tier; what Claude Code 2.1 reckons with."""
_CACHE_CREATION, _CACHE_READ = 1.25, 0.1
"""Times the price of input. What is kept for an hour costs more: an estimate is rather too low."""


def estimated_usd(model: str, usage: Mapping[str, float]) -> float:
    """Give what a message costs, at least; 0 for a model that is in none of the tiers."""
    found = next((prices for tier, prices in _INPUT_AND_OUTPUT.items() if tier in model), None)
    if found is None:
        return 0.0
    per_input, per_output = found
    weighed = (
        usage.get("input_tokens", 0.0)
        + usage.get("cache_creation_tokens", 0.0) * _CACHE_CREATION
        + usage.get("cache_read_tokens", 0.0) * _CACHE_READ
    )
    return (weighed * per_input + usage.get("output_tokens", 0.0) * per_output) / 1e6
