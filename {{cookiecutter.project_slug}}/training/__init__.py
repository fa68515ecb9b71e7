"""Train the model for the service: ``python -m training``."""
