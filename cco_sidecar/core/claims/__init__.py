"""Claims: who works on which paths and names, one at a time or together (contract section 10)."""
