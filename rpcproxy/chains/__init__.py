"""What each kind of chain means, as data. Pure; a row of a table cites its source beside it.

``methods`` what is known of a method; ``evm`` the door to the EVM's tables: ``evm_methods``,
``evm_blocks`` (block parameters, heads), ``evm_pins`` (tags become numbers), ``evm_answers`` (which
block an answer is in), ``evm_errors``, ``evm_shapes`` (how params are built), ``evm_transactions``
(hashes), ``evm_signed`` (what a signed transaction says), ``rlp`` how they are written; ``known``
chains by name, ``native`` their coins, ``public`` endpoints of theirs. Tables belong to one kind of
chain: one number means opposite things on two kinds.
"""
