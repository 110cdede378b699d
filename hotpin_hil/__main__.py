"""`python -m hotpin_hil` is `hotpin-hil`. It imports nothing at first: Ctrl-C is quiet from here on."""

import sys


def main() -> int:
    try:
        from hotpin_hil.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        return 130  # cli.EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
