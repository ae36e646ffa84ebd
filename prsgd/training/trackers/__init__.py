"""Who is told of a run while it goes on: its tables, the console, and whatever may follow."""
