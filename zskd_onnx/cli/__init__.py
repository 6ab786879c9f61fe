"""The command line: one file for each command. Commands parse, call the pipeline and print."""
