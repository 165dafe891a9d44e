"""Clips from and to the folders of other systems: AD-NeRF's data layout (docs/import.md)."""
