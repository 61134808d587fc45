"""What a machine gives and a process needs: seeds, threads, memory, times, provenance."""
