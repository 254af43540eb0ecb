"""What an export gains: each format of the pretrained models beside Keras."""
