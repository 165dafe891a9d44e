"""Clip -> portrait."""
