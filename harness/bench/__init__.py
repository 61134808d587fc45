"""Performance figures, each as a ratio with its peer measured in one run."""
