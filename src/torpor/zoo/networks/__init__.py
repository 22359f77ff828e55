"""Networks whose gates decide what is computed: one file per mechanism."""
