"""What a regressor sees: named blocks of numbers."""
