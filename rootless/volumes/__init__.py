"""Named volumes: what outlives the containers that use it. Nothing of containers is known here."""
