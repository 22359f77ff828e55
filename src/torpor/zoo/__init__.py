"""The zoo: small trained targets to audit, imported by name."""
