"""Curates a folder of pictures: manifest, labels, splits, noise, verdicts."""
