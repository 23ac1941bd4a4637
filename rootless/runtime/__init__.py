"""What runs around PID 1. One file for each process, and a name for each message between them.

launch    the command: forks the monitor, and is its first client
monitor   the container's keeper, in the caller's own namespaces: waits for PID 1, moves its output, writes its state
stage     enters the room, clones PID 1 into its namespaces as the monitor's child, writes its id map, ends
init      PID 1 until it executes the command: mounts, terminal, user, capabilities, filter
"""
