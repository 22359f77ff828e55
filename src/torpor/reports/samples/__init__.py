"""How one sample is shown: pictures, boxes, waves, texts."""
