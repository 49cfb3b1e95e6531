"""From files of images to what a network sees: noise, scaling, cutouts."""
