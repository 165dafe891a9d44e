"""Pure tensor functions; they know nothing about faces, files or modules."""
