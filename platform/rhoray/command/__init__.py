"""The command `rhoray`: files in, answers out, for a person at a terminal or a script (`--json`)."""
