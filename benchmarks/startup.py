"""How long `llstore --help` takes, beside importing typer alone."""

import sys
from pathlib import Path

from measure import machine, ratio, spread, timed

ROUNDS = 15
BIN = Path(sys.executable).parent


def main() -> None:
    ours, typer = [], []
    for _ in range(ROUNDS):
        ours.append(timed([BIN / "llstore", "--help"]).seconds)
        typer.append(timed([sys.executable, "-c", "import typer"]).seconds)
    print(f"{ROUNDS} alternating rounds, {machine()}")
    print(f"llstore --help: {spread(ours, unit='s', digits=3)}")
    print(f"python -c 'import typer': {spread(typer, unit='s', digits=3)}")
    print(f"llstore --help takes {ratio(typer, ours)} import typer")


if __name__ == "__main__":
    main()
