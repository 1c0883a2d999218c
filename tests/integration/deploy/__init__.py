"""What stands around the service: nginx, replicas, rollouts."""
