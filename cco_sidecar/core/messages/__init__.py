"""Messages: what one agent says to another, and how far it has come (contract section 8)."""
