"""What a request passes before its route: limits, authentication, problems, traces. Imports no route."""
