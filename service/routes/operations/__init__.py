"""The operator's side: bundles and traffic, health and metrics, recent activity, the console and the API documents."""
