"""Figures that compare this provider with its nearest peer, measured side by side in one run."""
