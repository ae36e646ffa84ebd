"""Who starts the processes: this one, an agent of our own, or somebody else's torchrun."""
