"""What Celeriac does in a second, measured beside its peers.

`make bench` (`python -m benchmarks`) runs each figure of the registry in several rounds, our own contender and its
peers in turn on the same servers, and keeps medians and ratios. Peers live in an environment of their own,
`.venv-peers`, installed from `peers.lock`. Nothing here is imported by the three apps.
"""
