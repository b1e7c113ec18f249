"""Convolution and padding made of MLX operations."""
