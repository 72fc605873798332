"""Couplings: the joint law of the two ends, as plans, pairs and where batches of them come from."""
