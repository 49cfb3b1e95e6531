"""Models: networks, likelihoods and quantisers put together."""
