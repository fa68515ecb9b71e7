"""A module of another program."""

raise ImportError("of another program")
