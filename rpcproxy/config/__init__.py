"""Configuration: read once, validated whole, frozen.

``model`` holds the values. ``load`` is the door: a YAML file, or names of known chains, in; a
``Config`` or one ``ConfigError`` with every problem in words out. Behind it: ``source`` (YAML to
nodes that know their line), ``environment`` (``${ENV}``), ``units`` (durations, rates, sizes),
``urls`` (checks and guesses that print no secrets), ``reading`` (tables of keys and converters),
``read_server`` and ``read_chain`` (the tables), ``problems`` (what is said to people).
Which chains are known is an argument: this floor is below ``chains``.
"""
