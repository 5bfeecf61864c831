"""`python -m parakh` is `parakh`."""

from parakh.cli.main import main

if __name__ == "__main__":
    main()
