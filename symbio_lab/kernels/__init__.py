"""Running notebooks with parameters, in kernels of their own."""
