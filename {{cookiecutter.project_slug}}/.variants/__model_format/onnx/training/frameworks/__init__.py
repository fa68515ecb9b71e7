"""Conversion of each framework's models to ONNX, and their comparison with the originals."""
