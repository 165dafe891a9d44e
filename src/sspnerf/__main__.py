"""python -m sspnerf."""

from sspnerf.cli import main

if __name__ == "__main__":
    main()
