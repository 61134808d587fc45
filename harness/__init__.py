"""Trains and evaluates world models and baselines under one named protocol, and reports on them."""
