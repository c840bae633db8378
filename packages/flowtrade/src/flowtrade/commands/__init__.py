"""What operators do with a service: run it, look after its store, settle its batches.

Each command is a plain function of the command line's arguments that returns an exit
code: 0 done, 1 something failed or does not agree, 2 the arguments, the configuration,
the store or a file cannot be used.
"""
