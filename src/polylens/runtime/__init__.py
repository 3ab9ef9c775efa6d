"""Inputs to vectors: where a family's maths and its processing meet."""
