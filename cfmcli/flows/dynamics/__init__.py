"""Dynamics: points carried along a trained flow, with or without noise, and their densities."""
