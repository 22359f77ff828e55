"""Language models with exits: each token leaves after as many layers as it takes to be sure."""
