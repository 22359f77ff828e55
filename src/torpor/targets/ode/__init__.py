"""Neural ordinary differential equations: classifiers whose solver takes as many steps as the input needs."""
