"""Conversion between bytes and arrays: JSON instances, CSV, tensors of the Open Inference Protocol."""
