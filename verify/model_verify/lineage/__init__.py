"""What the weights say when nobody declares anything, or when somebody declares something else."""
