"""From one end to the other: files to answers, events to the next bundle, erasures to training, demo, examples."""
