"""Bytes to arrays and back: JSON instances, CSV, tensors of the Open Inference Protocol."""
