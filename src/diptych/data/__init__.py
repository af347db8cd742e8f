"""From files to batches: readers, datasets, preprocessing, augmentation, and the order of samples."""
