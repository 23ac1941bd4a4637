"""The command line: parses, calls the engine, prints. No logic that another caller of the engine would need too."""

import gc

# A command lives for a tenth of a second and makes no cycles worth finding; looking for them while the modules are
# imported takes a tenth of that. Monitors, which live long, turn it on again (runtime/keeper.py).
gc.disable()
