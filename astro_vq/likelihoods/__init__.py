"""Likelihoods of pixels given the raw output of a decoder."""
