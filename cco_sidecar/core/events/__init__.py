"""Events: what they are, who wants them, who waits for them."""
