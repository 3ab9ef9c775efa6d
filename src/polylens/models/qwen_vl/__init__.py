"""What the families on Qwen2-VL and Qwen2.5-VL share: decoder, vision towers, positions, images, published names.

No family by itself: a checkpoint belongs to one of the families that build on it, such as `jina_v4`.
Qwen2-VL, https://arxiv.org/abs/2409.12191; Qwen2.5-VL, https://arxiv.org/abs/2502.13923.
"""
