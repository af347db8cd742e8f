"""Search for better hyperparameters: studies, their trials and finalists, and what they found."""
