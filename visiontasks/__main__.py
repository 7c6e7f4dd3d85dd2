"""`python -m visiontasks` and the console script."""

from visiontasks.cli import main

if __name__ == "__main__":
    main()
