"""Captioning: a picture in, a sentence out, and where each word looked."""
