"""What others have learned to see: model files, and the networks that find a face."""
