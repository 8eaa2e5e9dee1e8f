"""scikit-learn's interface, and ONNX."""
