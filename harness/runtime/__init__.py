"""The machine and the process: seeds, threads, memory, times, provenance."""
