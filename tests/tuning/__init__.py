"""Formulations that are measured."""
