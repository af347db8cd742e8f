"""Files that a training leaves behind: the run directory, its events, and how files are written."""
