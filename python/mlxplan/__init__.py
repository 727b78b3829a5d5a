"""mlxplan, a capacity planner for language models on Apple Silicon, as a program: see `mlxplan --help`."""
