"""Config files: values only, one file per plug-in, one per experiment."""
