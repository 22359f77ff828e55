"""The evaluation of the USENIX Security 2025 study of dynamic deep-learning systems, with adaptive attackers."""
