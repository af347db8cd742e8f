"""Pictures and pages for people, drawn from the numbers in a run directory."""
