"""The sub-commands of ``fl-server``, one file each; ``server/cli.py`` lists them."""
