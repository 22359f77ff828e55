"""How one sample is shown: images, boxes, waves, texts."""
