"""The Model Context Protocol: a library's search and pages, and the models, for assistants."""
