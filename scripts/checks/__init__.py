"""Checks that need the network, a GPU, root or many minutes: installs, images, secrets and licences, a GPU."""
