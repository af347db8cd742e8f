"""Export models to files for other programs, verify and benchmark them, and transfer weights between files."""
