"""The classifiers of texts: their task, their networks, and the entries of the zoo."""
