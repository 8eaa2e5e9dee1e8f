"""Training time side by side with the libraries one would use instead; run by `make bench`."""
