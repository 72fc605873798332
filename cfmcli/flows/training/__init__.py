"""Training: a triple bound to points, and the loop that fits a field to it."""
