"""Where things are: cameras, rotations, rays, the face mesh. Conventions: docs/conventions.md."""
