"""Convolution and padding made of MLX operations, and which one computes a call."""
