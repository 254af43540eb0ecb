"""The page that tries all four models, and the JSON service behind it."""
