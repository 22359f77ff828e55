"""Tools of the repository that are not part of the package: what builds its site."""
