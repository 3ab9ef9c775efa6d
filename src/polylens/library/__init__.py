"""A folder that is kept searchable: its files, its index, the search, what watches and examines it."""
