"""Optimisers, schedules, stopping, augmentation, dropout, the checkpoint and the run."""
