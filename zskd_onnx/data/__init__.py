"""Samples on disk: real samples and transfer sets."""
