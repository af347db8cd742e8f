"""Plots, reports and progress of runs, comparisons and data checks."""
