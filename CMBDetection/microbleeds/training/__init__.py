"""Training scripts: how each shipped network was made."""
