"""Where training recipes were before :mod:`torpor.training`."""
