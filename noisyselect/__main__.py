"""``python -m noisyselect`` is the command line."""

from noisyselect.cli import main

if __name__ == "__main__":
    main()
