"""Exchange with CLEAR-LeWM: manifests of pairs and results in its formats."""
