"""Read and write files: FITS, HDF5; numpy only."""
