"""Training of the zoo's targets: recipes, crafting of attacked batches, model cards."""
