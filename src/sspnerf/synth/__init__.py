"""The synthetic speaker: a scene, a voice, and the clip that they make, with exact truth."""
