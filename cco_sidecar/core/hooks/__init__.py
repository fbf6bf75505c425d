"""What Claude Code's hooks are told (contract section 8): may this file be edited, is there news, may the agent end."""
