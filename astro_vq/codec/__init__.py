"""From images to `.avq` files and back."""
