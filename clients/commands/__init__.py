"""The sub-commands of ``fl-node``, one file each; ``clients/cli.py`` lists them."""
