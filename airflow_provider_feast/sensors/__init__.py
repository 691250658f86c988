"""Sensors that wait for Feast on Kubernetes."""
