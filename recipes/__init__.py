"""Published experiments, a folder with a params.yaml each, run by the six scripts of the root pipeline."""
