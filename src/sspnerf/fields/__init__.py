"""What is at a point, given the sound."""
