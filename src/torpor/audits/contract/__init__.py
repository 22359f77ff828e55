"""Whether a target keeps its contract: what every figure of an audit rests on."""
