"""Claude Code's names of the tools that hooks are about."""

EDITS = ("Edit", "Write", "MultiEdit", "NotebookEdit")
READS = ("Read", "NotebookRead")
SERVER = "cco"
"""What our MCP server is called wherever we write it down."""
ALL_OF_OURS = f"mcp__{SERVER}"
"""The permission for all of our tools."""
OURS = f"{ALL_OF_OURS}__"
"""How the names of our tools begin."""
