"""``python -m asr``: the same as the command ``asr``."""

from asr.cli import main

if __name__ == "__main__":
    main()
