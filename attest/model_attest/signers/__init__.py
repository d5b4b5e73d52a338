"""What makes a bundle out of a statement. `key` signs with a private key in a file."""
