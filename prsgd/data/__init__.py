"""Sets: where they come from, how they are cached, shared out and drawn from."""
