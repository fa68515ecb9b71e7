"""A deployment without an account: ``make rehearse``."""
