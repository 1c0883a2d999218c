"""What a request passes before its route, as in ``service/edge/``: limits, problems, traces."""
