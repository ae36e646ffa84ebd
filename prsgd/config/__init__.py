"""What a run is: its keys, how they are composed and checked, its name, and how it is placed."""
