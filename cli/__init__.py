"""The command line; installed as `astro_vq.cli`."""
