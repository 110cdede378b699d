"""`python -m hotpin_hil`, the same as `hotpin-hil`.

The imports are inside `main` so that Ctrl-C during start-up prints no traceback.
"""

import sys


def main() -> int:
    try:
        from hotpin_hil.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        return 130  # cli.EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
