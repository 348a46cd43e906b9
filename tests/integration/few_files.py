"""The proxy as people run it, allowed as few open files as ``FEW_FILES`` says, for good."""

import os
import resource
import sys

from rpcproxy import cli

if __name__ == "__main__":
    few = int(os.environ["FEW_FILES"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
    sys.exit(cli.main())
