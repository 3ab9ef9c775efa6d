"""Pages and their vectors on disk, and the search over them. Needs no torch.

`store` keeps them in LanceDB, `search` ranks them: the nearest dense vectors first, then exact MaxSim over those.
"""
