"""Transforms of inputs."""
