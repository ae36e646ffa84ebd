"""The training of one run, as each of its processes does it."""
