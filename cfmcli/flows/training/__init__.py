"""Training: a method bound to data, and the loop that fits a field to it."""
