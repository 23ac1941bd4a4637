"""Fetching over the network: HTTP on h11 and trio. Knows nothing of our store."""
