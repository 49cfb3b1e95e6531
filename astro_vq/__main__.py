"""``python -m astro_vq``: the command line, where its script is not on the path."""

from astro_vq.cli.main import main

if __name__ == "__main__":
    main(prog_name="astro-vq")
