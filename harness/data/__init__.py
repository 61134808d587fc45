"""Datasets: collected or imported, stored as Arrow files, read as training windows."""
