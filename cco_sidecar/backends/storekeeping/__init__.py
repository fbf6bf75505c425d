"""Looking after a storage from outside: is it whole, carry it away, bring it back."""
