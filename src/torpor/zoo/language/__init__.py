"""Small language models trained from scratch: their tokenizers, architectures and data, and their names."""
