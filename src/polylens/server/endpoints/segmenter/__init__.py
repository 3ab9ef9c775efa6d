"""Cutting a text into chunks and tokens, without a model, as Jina's segmenter does."""
