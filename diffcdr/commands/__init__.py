"""The runtime's own commands: score, inspect, index, rollout. Imports everything below; imported by the command line
alone.
"""
