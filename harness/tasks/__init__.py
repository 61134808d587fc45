"""The tasks, one file each: specification, simulator, collector and surprises."""
