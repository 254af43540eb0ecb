"""From a run folder to a graph that answers without Keras, and the runtime that reads it."""
