"""The processes of a run: what they send each other, and the ledger of it."""
