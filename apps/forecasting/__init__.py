"""Stock prices: the history of a share in, the distribution of its next twenty days out."""
