"""Names, units, errors and storage that every other part shares."""
