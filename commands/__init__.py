"""What a user runs besides the pipeline: `predict`, and the closing summary of `make repro`."""
