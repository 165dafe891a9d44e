"""One module per stage of `prepare`: it reads the workspace, does its part, and leaves files."""
