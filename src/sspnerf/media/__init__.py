"""Video and sound files as arrays with units, and back: picture, waveform, speech features."""
