"""Attacks of papers on gates that are not exits: layers that are skipped, depth that halts."""
