"""The Slicer side of CMBDetection: panel, engine process, findings as markups, review."""
