"""The search page of a library: its files, its HTTP interface, its background updates."""
