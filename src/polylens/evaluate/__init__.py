"""Evaluation: retrieval metrics with confidence intervals, and reports."""
