"""A stand-in for `tensorflow.neuron`, for tests alone."""
