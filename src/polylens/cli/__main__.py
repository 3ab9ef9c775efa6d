"""`python -m polylens.cli`."""

from polylens.cli import main

if __name__ == "__main__":
    main()
