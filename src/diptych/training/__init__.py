"""Epochs, schedules, checkpoints and early stopping: shared by both engines."""
