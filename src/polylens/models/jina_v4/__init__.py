"""jina-embeddings-v4: one Qwen2.5-VL decoder for text and images, task adapters, dense and late-interaction vectors.

The paper is https://arxiv.org/abs/2506.18902.
"""
