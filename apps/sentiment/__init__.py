"""IMDB sentiment: a review in, a verdict out, and the words that moved it."""
