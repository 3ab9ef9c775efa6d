"""Benchmarks made on the spot: synthetic pages, translations, functions."""
