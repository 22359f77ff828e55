"""What a program or a notebook calls: ``torpor.audit``, and what it returns."""
