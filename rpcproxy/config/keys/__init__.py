"""Keys of the configuration, one row each: how it is read, and what people are told of it.

The reader goes through the rows, the JSON Schema and the tables of docs/configuration.md are made
from them; how a key is added is told in ``sections``.
May import what reads values (``config.reading``) and the model. Must not hold a rule of its own.
"""
