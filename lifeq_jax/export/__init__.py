"""Trained networks in the form that devices run."""
