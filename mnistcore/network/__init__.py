"""Activations, losses, initialisers, the network and its file."""
