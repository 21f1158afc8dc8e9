"""The command line: options are parsed, the library is called, results are printed."""
