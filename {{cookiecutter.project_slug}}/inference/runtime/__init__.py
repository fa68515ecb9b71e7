"""Running the model, independent of HTTP."""
