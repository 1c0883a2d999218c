"""The server process: sockets, HTTP connections, worker processes, draining."""
