"""Detectors of the literature, one a file, each a plugin of fdr-bench."""
