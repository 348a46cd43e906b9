"""Reading of a configuration: YAML to nodes that know their line, nodes to values by converters.

What keys there are is an argument; whatever is wrong is told with its line, and reading goes on.
May import the values and the words for problems of ``config``.
Must not open a file, nor look at the environment by itself.
"""
