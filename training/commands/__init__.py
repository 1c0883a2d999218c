"""The training commands: options in, one library call, a screen of results out."""
