"""What a run sends, how long that takes on a network, and which interval that asks for."""
