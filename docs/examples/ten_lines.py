"""Compress an image, look into the compressed file, and get the image back."""

import astro_vq

result = astro_vq.compress("m31.fits", "m31.fits.avq", max_error="0.125sigma")
print(result.fidelity, result.max_error, result.bits_per_pixel, result.ratio)

with astro_vq.open("m31.fits.avq") as image:
    print(image.shape, image.header["OBJECT"])
    corner = image.section[0:64, 100:200]  # rows, columns; decodes only the tiles that it needs
    tokens = image.tokens  # codebook indices

astro_vq.decompress("m31.fits.avq", "again.fits")
