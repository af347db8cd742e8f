"""From a run to files that other programs run, each proved against the model it came from."""
