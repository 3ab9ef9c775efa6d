"""The interfaces of other services, one file each: they translate to the published interface, and its answers back.

A dialect has no way of its own to the models. Its requests become those of `/v1/embeddings` and `/v1/rerank`, so keys,
limits, accounting and metrics are the same.
"""
