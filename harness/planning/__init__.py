"""Planners, one file each, and the policies that use them: they know costs, not models."""
