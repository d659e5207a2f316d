"""Grade assignments: each submission in a process of its own."""
