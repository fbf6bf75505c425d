"""How many tokens a text is taken for: an estimate, since each model has a tokenizer of its own."""

BYTES_PER_TOKEN = 3
"""Of UTF-8. With the tokenizers cl100k, o200k and Claude 2's, code and prose of this project have 2.9 to 4.1; a file
that is all regular expressions has 2.4, and so a quarter more tokens than it is taken for.
"""
LEAST_TOKENS = 256
MOST_TOKENS = 10_485_760 // BYTES_PER_TOKEN


def tokens_in(size_bytes: int) -> int:
    """Estimate the tokens of so many bytes of UTF-8: a third of them, rounded up."""
    return -(-size_bytes // BYTES_PER_TOKEN)
