"""Images: their names, their documents, where they are kept, and how they come in and go out."""
