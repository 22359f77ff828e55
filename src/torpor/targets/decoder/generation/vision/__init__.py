"""Vision-language models: an image and a fixed text in, a text out."""
