"""Configuration: read once, validated whole, frozen. Which chains are known is an argument.

``load`` is the door: a file, or names of known chains, in; a ``Config`` or one ``ConfigError`` with
every problem in words out. The environment is an argument.
May import ``messages``. Must not print a secret, nor fill in what nobody asked for.
"""
