"""One file per format on disk; each turns files into arrays and refuses what is not its format."""
