"""Simulated scans with known microbleeds: physics from a label map to an image."""
