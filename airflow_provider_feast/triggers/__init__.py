"""Triggers that wait for a Job while its task is deferred."""
