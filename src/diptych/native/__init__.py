"""A model and its training as native code, a project for each framework that needs no other package of ours.

`data`, `torch` and `tensorflow` return the texts of the parts: reading the data, the model, the training.
"""
