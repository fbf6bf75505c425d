"""An agent that prints what Claude Code prints, and ends as that does when its account is of no use.

``limited_agent.py WALL [SESSION]``: while there is a file WALL, it holds the status that the model's servers answer.
"""

import json
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path


def say(**line: object) -> None:
    """Print a line of the stream."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Begin or go on, be refused or answered, and end."""
    wall = Path(sys.argv[1])
    session = sys.argv[2] if len(sys.argv) > 2 else str(uuid.uuid4())
    say(type="system", subtype="init", session_id=session)
    usage = {"input_tokens": 10, "output_tokens": 1}
    if len(sys.argv) == 2:  # it always comes to its first answer
        say(type="assistant", message={"id": "m1", "model": "m", "usage": usage, "content": []})
    total = {"m": {"inputTokens": 10, "outputTokens": 1}}
    with suppress(FileNotFoundError):
        status, text = int(wall.read_text()), "API Error"
        time.sleep(0.2)
        say(type="result", subtype="success", is_error=True, api_error_status=status, result=text, modelUsage=total)
        return 1
    say(type="assistant", message={"id": "m2", "model": "m", "usage": usage, "content": []})
    time.sleep(0.5)
    say(type="result", subtype="success", is_error=False, num_turns=1, result=f"done in {session}", modelUsage=total)
    return 0


if __name__ == "__main__":
    sys.exit(main())
