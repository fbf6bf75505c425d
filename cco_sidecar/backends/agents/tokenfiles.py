"""Where the private files of agents lie: the token, the context, names and values asked for at the spawn.

They lie below ``CCO_HOME``, never below the storage, which may be copied to anywhere.
"""

from pathlib import Path


def token_path(run_directory: Path, agent_id: str) -> Path:
    """Name the file at ``JWT_TOKEN_FILE``; ``run_directory`` is ``<CCO_HOME>/run``."""
    return run_directory / "tokens" / agent_id


def context_path(run_directory: Path, agent_id: str) -> Path:
    """Name the file at ``CONTEXT_FILE``."""
    return run_directory / "context" / f"{agent_id}.json"


def servers_path(run_directory: Path, agent_id: str) -> Path:
    """Name the file of the agent's MCP servers, in Claude Code's form."""
    return run_directory / "claude" / f"{agent_id}.mcp.json"


def settings_path(run_directory: Path, agent_id: str) -> Path:
    """Name the file of the agent's settings, in Claude Code's form."""
    return run_directory / "claude" / f"{agent_id}.settings.json"


def environment_path(run_directory: Path, agent_id: str) -> Path:
    """Name the file that keeps the ``environment`` of a spawn until the agent starts: its values may be secrets."""
    return run_directory / "environments" / f"{agent_id}.json"
