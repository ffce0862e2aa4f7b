"""The network with pre- and post-processing as a TensorFlow graph, from layer records to the SavedModel."""
