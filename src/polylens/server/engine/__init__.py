"""The models of a server: queues, worker processes, the cache of their vectors."""
