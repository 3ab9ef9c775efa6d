"""jina-reranker-m0: Qwen2-VL reads a document and a query together, texts or images, and gives the pair one score.

Release post: https://jina.ai/news/jina-reranker-m0-multilingual-multimodal-document-reranker.
"""
