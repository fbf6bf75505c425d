"""An agent that prints what Claude Code prints, and takes as many tokens as a file of the test's says: no model.

The file ``go-AGENT_ID`` in the project has the number of tokens to have taken in all; with ``end`` behind it, it ends.
"""

import json
import os
import sys
import time
from pathlib import Path

POLL_SECONDS = 0.02


def say(**line: object) -> None:
    """Print a line."""
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Take tokens until told to end."""
    go = Path(os.environ["PROJECT_ROOT"], f"go-{os.environ['AGENT_ID']}")
    taken = messages = 0
    say(type="system", subtype="init", session_id=os.environ["AGENT_ID"])
    while True:
        words = go.read_text().split() if go.exists() else []
        wanted = int(words[0]) if words else 0
        if wanted > taken:
            messages += 1
            usage = {"input_tokens": wanted - taken, "output_tokens": 0}
            call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}
            message = {"id": f"msg_{messages}", "model": "claude-haiku-4-5", "usage": usage, "content": [call]}
            say(type="assistant", message=message, parent_tool_use_id=None)
            taken = wanted
        if words[1:] == ["end"]:
            models = {"claude-haiku-4-5": {"inputTokens": taken, "outputTokens": 0}}
            say(type="result", subtype="success", is_error=False, num_turns=messages, result="Done.",
                total_cost_usd=taken / 1e6, modelUsage=models)  # fmt: skip
            return
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
