"""Benchmarks on data that is drawn when they run: synthetic pages, translations, functions."""
