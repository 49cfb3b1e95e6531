"""Figures of a report, one file each; every function returns a `matplotlib.figure.Figure`.

Colours are those of Okabe & Ito, lines and markers differ in shape as well, so that figures can be
read in print and with any colour vision.
"""
