"""The scripts that made this folder's files want PyTorch, and hold no examples."""

collect_ignore_glob = ["*.py"]
