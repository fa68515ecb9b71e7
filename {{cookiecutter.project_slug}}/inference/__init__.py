"""The inference service: a Flask application around one trained model."""
