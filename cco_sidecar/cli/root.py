"""The root of the `cco` command: what there is, each imported when used."""

import click

from cco_sidecar import __version__
from cco_sidecar.cli.command import LazyGroup

_COMMANDS = {
    "daemon": ("daemon", "daemon", "Start, stop, restart the sidecar in the background."),
    "orchestration-server": ("daemon", "orchestration_server", "Run the sidecar in the foreground."),
    "agent": ("agent", "agent", "Start agents, watch them, end them."),
    "account": ("account", "account", "See the accounts that agents work for, and try one again."),
    "events": ("events", "events", "Publish events, wait for them, look back."),
    "webhooks": ("webhooks", "webhooks", "Let other programs be told of events."),
    "context": ("context", "context", "See what an agent is told about the project."),
    "issue": ("issue", "issue", "Say what an issue is about."),
    "task": ("task", "task", "Give agents something to do."),
    "claims": ("claims", "claims", "See who works on which files."),
    "budget": ("budget", "budget", "Limit what a project, an issue or a type may take."),
    "msg": ("messages", "msg", "Write to agents, and read what they write."),
    "results": ("results", "results", "Store and read what agents report."),
    "status": ("health", "status", "Show what the sidecar is doing."),
    "health": ("health", "health", "Show whether the sidecar is well."),
    "project": ("project", "project", "Choose the directories that agents work in."),
    "config": ("config", "config", "Show the settings and where each came from."),
    "storage": ("storage", "storage", "Check what is stored, carry it away, bring it back."),
    "keys": ("keys", "keys", "Change the keys that sign tokens."),
    "token": ("token", "token", "Print the admin token, or issue one to an agent."),
    "mcp": ("mcp", "mcp", "Speak the Model Context Protocol on stdin and stdout."),
    "hook": ("hook", "hook", "Carry a hook of Claude Code to the sidecar."),
    "init": ("init", "init", "Let Claude Code coordinate through the sidecar in a repository."),
    "demo": ("demo", "demo", "See it all work, in one minute."),
    "completion": ("completion", "completion", "Print the completion script of a shell."),
}

_EPILOG = """\b
Exit codes:
  0    done
  1    the sidecar refused, or the thing failed
  2    wrong usage, also as the sidecar sees it
  3    no sidecar is there (start one: cco daemon start)
  4    not allowed
  124  timed out"""


@click.command(
    cls=LazyGroup,
    lazy=_COMMANDS,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="cco %(version)s")
def cli() -> None:
    """Let a fleet of coding agents work on one code base.

    One sidecar gives agents the context they need, carries their events, keeps their results and watches over
    their processes.

    \b
    Begin:
      cco daemon start
      cco agent spawn --type python-specialist --issue issue-123
      cco events subscribe agent_completed --continuous
    """
