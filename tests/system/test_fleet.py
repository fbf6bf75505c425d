"""The whole fleet at once: 119 agents that wait, publish and ask for context (the times are in benchmarks/fleet.py)."""

from pathlib import Path

from benchmarks import fleet


def test_119_agents_at_once(tmp_path: Path) -> None:
    """Every agent gets every event once, nobody is refused, and the sidecar stays small."""
    seen, usage = fleet.ours(tmp_path)
    assert seen.refused == 0
    assert len(seen.latencies) == fleet.AGENTS * fleet.PUBLISHERS * fleet.EVENTS_EACH
    assert len(seen.context_seconds) == 2 * fleet.AGENTS
    assert usage["rss_mb"] < 150
