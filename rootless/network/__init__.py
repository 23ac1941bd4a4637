"""What a container sees of networks: one file for each way to connect it, all behind the protocol in setup.py."""
