"""Quantisers: from latent vectors to code indices and back."""
