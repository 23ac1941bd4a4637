"""Images from a Dockerfile: the language, the context, stages, the cache and the executor."""
