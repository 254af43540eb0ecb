"""Translation: a sentence in, the same in another language out, and what each word looked at."""
