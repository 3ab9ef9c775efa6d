"""jina-embeddings-v2 and jina-clip-v1: a JinaBERT for texts, and for jina-clip-v1 an EVA02 vision tower.

The papers are https://arxiv.org/abs/2310.19923 and https://arxiv.org/abs/2405.20204.
"""
