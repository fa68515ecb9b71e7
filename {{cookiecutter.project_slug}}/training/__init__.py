"""Makes the model that the service serves: ``python -m training``."""
