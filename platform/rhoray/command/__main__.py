"""`python -m rhoray.command`, where the command itself is not on the path."""

from rhoray.command.main import main

if __name__ == "__main__":
    main()
