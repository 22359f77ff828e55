"""What every report is made of: words, tables, plots."""
