"""A dry run of tensorflow-neuron's partitioner: which operators it would place on the device."""
