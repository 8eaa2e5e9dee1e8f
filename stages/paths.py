"""Where the pipeline's artefacts lie, relative to the current folder; dvc.yaml names the same."""

from pathlib import Path

PARAMETERS = Path("params.yaml")
RAW = Path("data/raw")
PROCESSED = Path("data/processed")
BATCHES = Path("data/batches")
MODEL = Path("models/model.npz")
CHECKPOINTS = Path("checkpoints")  # not among DVC's outputs, which it removes before a stage runs
CURVES = Path("reports/curves")
METRICS = Path("reports/metrics.json")
PREDICTIONS = Path("reports/predictions.csv")
FIGURES = Path("reports/figures")
REPORT = Path("reports/index.html")
CARD = Path("reports/MODEL_CARD.md")
FAMILIARITY = Path("reports/familiarity.npz")

# What the folders of data hold.
DATASET, NORMALIZER, DESCRIPTION = "dataset.json", "normalizer.npz", "batches.json"
IMAGES, LABELS, TARGETS = "images.npy", "labels.npy", "targets.npy"
