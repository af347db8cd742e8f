"""Epochs, schedules, checkpoints and early stopping: what is shared by both engines' trainings."""
