"""The command line: parses, calls the engine, prints. No logic that another caller of the engine would need too."""
