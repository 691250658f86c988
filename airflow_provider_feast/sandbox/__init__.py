"""A small Kubernetes API on loopback, for a laptop and for tests. Not a cluster."""
