"""jina-clip-v2 and jina-embeddings-v3: a text tower like XLM-RoBERTa, and for jina-clip-v2 an EVA02 vision tower.

The papers are https://arxiv.org/abs/2412.08802 and https://arxiv.org/abs/2409.10173.
"""
