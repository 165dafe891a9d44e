"""Benchmarks: one command each, figures taken in one run."""
