"""The parts of a kind's contract, one module each: values, and callables that read and make them.

``chains.kind.Kind`` puts them together. Each says what a kind may leave out, and what that means.
May import ``chains.method``, ``arrays``, ``messages`` and one another.
Must not know any kind of chain.
"""
