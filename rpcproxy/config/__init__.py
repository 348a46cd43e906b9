"""Configuration: read once, validated whole, frozen. Which chains are known is an argument.

``model`` holds the values. ``load`` is the door: a file, or names of known chains, in; a ``Config``
or one ``ConfigError`` with every problem in words out. Behind it: ``source`` (YAML to nodes that
know their line), ``environment`` (``${ENV}``), ``units``, ``urls`` (print no secrets),
``reading`` (tables of keys, converters), ``read_server``, ``read_operation``, ``read_chain``,
``read_sends`` and ``read_upstream`` (the tables), ``providers`` (whose keys are found in the
environment), ``outbound`` (which outbound proxy leads where), ``warn`` (allowed and seldom wise),
``problems`` (what is said to people).
``meanings`` says what each key is for, ``schema`` tells editors. ``secrets`` finds them in a
``Config`` and takes them out of texts.
"""
