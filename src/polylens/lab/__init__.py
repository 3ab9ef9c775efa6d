"""The laboratory: how nano came about, and what the papers claim. Nothing but the command line imports it."""
