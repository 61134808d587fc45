"""The command line becomes trials: configuration, hashes, suites, scales and protocols."""
