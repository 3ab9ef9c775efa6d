"""The HTTP server, with safe handling of untrusted input."""
