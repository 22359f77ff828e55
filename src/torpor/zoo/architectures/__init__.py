"""Plain backbones; exits are attached by the builder."""
