"""Figures of merit: rate, distortion, photometry."""
