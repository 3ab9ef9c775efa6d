"""The HTTP server as a deployment of Ray Serve: the same application, in as many replicas as the load needs.

    serve run polylens.integrations.ray:app

Its settings are those of `polylens serve`, from the environment of the replicas (`POLYLENS_MODELS`, ...). Each replica
has its models, and makes its batches by tokens as the server does, so none are made by Serve.
"""

from __future__ import annotations

from typing import Any

REPLICAS = {"min_replicas": 1, "max_replicas": 8, "target_ongoing_requests": 16}
"""How many replicas run. A replica sorts up to about so many requests into batches; more wait in another's queue."""


def deployment(**options: Any) -> Any:
    """The server as a deployment, with options of `ray.serve.deployment` in place of the defaults.

    Example:
        >>> from ray import serve  # doctest: +SKIP
        >>> serve.run(deployment(num_replicas=2, ray_actor_options={"num_gpus": 1}).bind())  # doctest: +SKIP
    """
    from ray import serve

    from polylens.server.app import create_app
    from polylens.server.settings import Settings

    @serve.ingress(lambda: create_app(Settings()))  # in each replica: an application does not travel
    class Polylens:
        """The application is everything there is."""

    defaults: dict[str, Any] = {"max_ongoing_requests": 64}
    if "num_replicas" not in options:
        defaults["autoscaling_config"] = REPLICAS
    return serve.deployment(name="polylens", **{**defaults, **options})(Polylens)


def __getattr__(name: str) -> Any:
    """`app`, made when it is asked for: `serve run` and configuration files name it."""
    if name == "app":
        return deployment().bind()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
