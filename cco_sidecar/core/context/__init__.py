"""Context: which files an agent type gets, and how they fit its budget."""
