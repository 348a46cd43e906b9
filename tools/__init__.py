"""Scripts for those who work on rpcproxy: what they make is checked in. None is installed."""
