"""python -m prsgd, as torchrun starts it."""

from prsgd.cli.main import main

if __name__ == "__main__":
    main()
