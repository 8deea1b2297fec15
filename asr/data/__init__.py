"""From manifests to training batches: a weighted stream, duration buckets, labels, augmentation on the device."""
