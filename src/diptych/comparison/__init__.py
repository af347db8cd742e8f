"""What two engines, or two runs, have in common: parity is proven here, from arrays and files, with no framework."""
