"""The publisher's side: record how a checkpoint came to be, commit to every byte, sign."""
