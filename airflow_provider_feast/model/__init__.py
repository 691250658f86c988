"""Frozen values and pure functions: commands, configuration, security, limits, windows, results."""
