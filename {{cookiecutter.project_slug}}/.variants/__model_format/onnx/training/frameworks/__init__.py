"""How the models of each framework become ONNX, and are held against what they were before."""
