"""(p) Does ``torpor scan`` tell tampered models from clean ones? ``python -m benchmarks.scan --out FOLDER``."""
