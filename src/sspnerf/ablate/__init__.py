"""What does each part of the method bring? Train without it, and compare."""
