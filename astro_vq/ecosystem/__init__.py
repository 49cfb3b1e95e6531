"""Other packages that compressed images meet: numcodecs, Zarr, astropy's unified reading."""
