"""HTTP itself: keys, limits, bodies in and out, errors as responses, the OpenAPI document."""
