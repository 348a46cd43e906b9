"""What each kind of chain means, as data: methods, block parameters, error phrases, known chains.

Tables cite their source beside the row. Tables belong to one kind of chain and are never shared:
the same error number means opposite things on two kinds. Pure.
"""
