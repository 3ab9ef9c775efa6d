"""How well a model finds things: tasks, metrics, reports."""
