"""The pipeline's stages: one thin Click script each over the core, `mnistcore`."""
