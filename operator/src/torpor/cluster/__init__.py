"""(set up; its owner replaces this line)."""
