"""`python -m llstore.cli`."""

from . import main

main()
