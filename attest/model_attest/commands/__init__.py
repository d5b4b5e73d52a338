"""The commands, one file each. Their heads are light, and what a command needs is imported when it runs."""
