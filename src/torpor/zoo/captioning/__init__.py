"""Image captioners: convolutional encoders and recurrent decoders with attention."""
