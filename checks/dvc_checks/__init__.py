"""Validation of DVC pipelines whose stages are Python scripts; knows nothing of MNIST."""
