"""The command line: one file a verb; each calls `visiontasks.api`."""
