"""What a ray, a frame, a film looks like."""
