"""Inner values of a teacher: activations, features and layer inputs."""
