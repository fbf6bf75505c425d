"""The Model Context Protocol: the same routes, as tools and resources of an agent's own client (contract section 8)."""
