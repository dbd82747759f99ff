"""`python -m simulators` is the console script `simulate`."""

from simulators.cli import main

main()
