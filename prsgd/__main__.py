"""python -m prsgd, as torchrun starts it."""

from prsgd.cli import main

main()
