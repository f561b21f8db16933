"""The command line: one command a file, each thin. Nothing here imports torch before a command needs it."""
