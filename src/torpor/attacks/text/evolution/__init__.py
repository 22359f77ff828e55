"""An evolutionary search over edits of a text: what is varied, how, and the attack."""
