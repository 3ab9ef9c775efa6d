"""XLM-RoBERTa with rotary positions: the text tower of jina-clip-v2, jina-embeddings-v3 and jina-colbert-v2.

It is no family: it has no processing and no checkpoint of its own. The families that have this tower import it.
"""
