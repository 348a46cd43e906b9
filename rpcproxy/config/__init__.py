"""Configuration: read once, validated whole, frozen.

``model`` holds the values, ``load`` reads YAML with ``${ENV}``, refuses what is not known
with file, line and a suggestion. Which chains are known is an argument: this floor is below
``chains``.
"""
