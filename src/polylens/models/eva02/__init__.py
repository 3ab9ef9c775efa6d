"""The EVA02 vision tower, which the two families of jina-clip share: network, configuration, names and pixels.

This is no family: it claims no checkpoint.
"""
