"""A container at rest: what was asked for, what it is called, which state it is in; and the verbs on it."""
