"""`python -m cfmcli` is `cfm`."""

from cfmcli.cli import main

main()
