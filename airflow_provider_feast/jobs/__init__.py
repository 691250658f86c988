"""Everything that builds, submits, watches and explains a Kubernetes Job."""
