"""`python -m llstore.cli`."""

from .main import main

main()
