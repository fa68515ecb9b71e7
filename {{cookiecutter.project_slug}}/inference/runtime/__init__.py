"""What runs the model; it knows no request."""
