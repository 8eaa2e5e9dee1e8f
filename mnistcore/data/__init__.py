"""IDX files, data sets, downloads, normalisation, labels, hold-out, batches."""
