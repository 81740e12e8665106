"""The kernels: ranks, mixtures and neighbours, as pure functions on arrays."""
