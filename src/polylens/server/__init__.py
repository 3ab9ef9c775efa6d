"""The HTTP server and what it needs to take in what strangers send."""
