"""Operators that run a Feast command as a Kubernetes Job."""
