"""Pages and their vectors on disk or object storage, and the search over them. Needs no torch.

`storage` is where an index lies, `table` keeps its pages in LanceDB, `ranking` scores them, and `search` finds the best
pages: the nearest dense vectors and the pages with the query's words first, then exact MaxSim over those.
"""
