"""A prepared clip, on disk and in memory."""
