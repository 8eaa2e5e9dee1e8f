"""Fully connected networks in NumPy; knows nothing of DVC, Click or params.yaml."""
