"""The network and what surrounds it as a TensorFlow graph, from layer records to the SavedModel."""
