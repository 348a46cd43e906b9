"""``python -m rpcproxy``."""

from rpcproxy.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
