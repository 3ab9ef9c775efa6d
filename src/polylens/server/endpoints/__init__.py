"""The endpoints of the HTTP interface, one file per route. They know the parsed request and nothing of HTTP."""
